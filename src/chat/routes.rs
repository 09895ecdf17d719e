//! `/v1/rooms` and everything below it.

use utoipa_actix_web::service_config::ServiceConfig;

use super::{members, messages, reads, rooms};

/// Adds the routes.
pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.configure(rooms::routes::configure)
        .configure(members::routes::configure)
        .configure(messages::routes::configure)
        .configure(reads::routes::configure);
}
