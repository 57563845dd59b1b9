//! `inventory`, `lint` and `explain` on a whole host: nginx, Apache and HAProxy, a certificate for each rule.

mod explain;
mod fixes;
mod host;
mod narrow;
mod rules;
mod stock;
mod sunset;
