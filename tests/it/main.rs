//! Everything that needs the built program, real servers or the sources: one binary, a module a subject.

mod audit;
mod certificates;
mod check;
mod confirm;
mod discover;
mod documents;
mod e2e;
mod fetch;
mod files;
mod lint;
mod metrics;
mod probe;
mod publish;
mod reload;
mod responder;
mod responders;
mod store;
mod support;
mod tidy;
mod verify;
