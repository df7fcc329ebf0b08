//! Declares every key to the reader: name, meaning, default, limits. The order is the one in which they are printed.

mod evidence;
mod ledger;
mod server;
mod telemetry;

use super::{Admin, Authzen, Evidence, Ledger, Log, Replica, Server, Telemetry, mapping};
use crate::config::reader::Reader;
use crate::config::schema::Shape;
use crate::config::{Config, callers, keys};

/// The longest path of a file, in bytes. Source: Linux, `PATH_MAX`, with the final zero.
const PATH_BYTES_MAX: usize = 4095;
/// The longest path of a Unix socket, in bytes. Source: Linux, unix(7): 108 with the final zero.
const UDS_PATH_BYTES_MAX: usize = 107;

impl Config {
    /// Reads every key, then checks what only several together can be wrong about.
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        let data_dir =
            reader.path("data_dir", "The folder of everything that is written.", keys::DEFAULT_DATA_DIR.into());
        let config = Self {
            server: Server::read(reader),
            authzen: Authzen::read(reader),
            admin: Admin::read(reader),
            ledger: Ledger::read(reader),
            replica: Replica::read(reader, data_dir.join(keys::DEFAULT_KEY_FILE_NAME)),
            evidence: Evidence::read(reader),
            telemetry: Telemetry::read(reader),
            ext_authz: mapping::read(reader),
            log: Log::read(reader),
            callers: reader.whole(
                "callers",
                "Who may ask, and about what; without any, whoever reaches a listener, about everything.",
                (callers::LIMITS, Shape::Callers),
                Vec::new(),
                callers::parse,
                callers::show,
            ),
            data_dir,
        };
        config.check_across(reader);
        config
    }
}
