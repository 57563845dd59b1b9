//! Everything that needs the built program, real servers or the sources: one binary, a module a subject.

mod support;
mod tidy;
