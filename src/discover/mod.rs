//! Finding: which certificates there are, who issued them, and which server presents them where.

mod files;
mod model;
#[allow(dead_code, reason = "the scanner that reads configurations follows")]
mod nginx;
mod problem;
mod settings;

pub use model::{
    Address, Context, Deployment, Listener, Origin, Presented, ServerModel, ServerName, Stated,
    Transport,
};
pub use problem::{Problem, What};
pub use settings::{
    CERTIFICATE_FOLDERS, Kind, MappedPath, NGINX_CONFIG, PathMap, STAPLE_TEMPLATE, Server,
    Settings, UnknownKind, Watch,
};
