//! The table of routes, read in two ways.

use actix_web::{dev::HttpServiceFactory, web};
use utoipa_actix_web::{OpenApiFactory, service_config::ServiceConfig};

/// Where routes are entered: with a worker, which serves them, or in the document, which describes them. To describe
/// them to each worker too would take megabytes that no allocator gives back.
pub enum Routes<'a, 's> {
    /// Serves each route.
    Served(&'a mut web::ServiceConfig),
    /// Describes each route.
    Described(&'a mut ServiceConfig<'s>),
}

impl Routes<'_, '_> {
    /// Enters a route.
    pub fn service(&mut self, route: impl HttpServiceFactory + OpenApiFactory + 'static) -> &mut Self {
        match self {
            Self::Served(worker) => drop(worker.service(route)),
            Self::Described(document) => drop(document.service(route)),
        }
        self
    }

    /// Enters those of a part of the program.
    pub fn configure(&mut self, part: impl FnOnce(&mut Self)) -> &mut Self {
        part(self);
        self
    }
}
