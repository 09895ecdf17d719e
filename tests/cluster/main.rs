//! Several nodes on one PostgreSQL and one NATS: real servers, real processes, and everything that can go wrong
//! between them.

mod away;
mod faults;
mod ghosts;
mod presence;
mod rolling;
mod storm;
mod streams;
mod support;
mod work;
