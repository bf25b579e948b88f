//! A PostgreSQL of its own for a test, in a folder of its own, on a port that was free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use seawall_postgres::{Clients, LeaseStore};
use tokio_postgres::{Client, Config, NoTls};

/// Set where a test must not be skipped for want of a program.
const NEEDED: &str = "SEAWALL_ENGINES";

pub(crate) struct Server {
    folder: PathBuf,
    bin: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// `None` where there is no PostgreSQL, and tests may be skipped.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = bin() else {
            assert!(std::env::var_os(NEEDED).is_none(), "no PostgreSQL, and {NEEDED} is set");
            println!("skipped: no PostgreSQL (apt-get install postgresql-15)");
            return None;
        };
        let server = Self::in_folder(bin);
        // A password is only asked for where a test has one set.
        server.command("initdb", &["--no-sync", "-A", "trust", "-U", "postgres"]);
        server.begin();
        Some(server)
    }

    /// A replica of this one.
    pub(crate) fn replica(&self) -> Self {
        let replica = Self::in_folder(self.bin.clone());
        let primary = format!("host=127.0.0.1 port={} user=postgres", self.port);
        replica.command(
            "pg_basebackup",
            &["-d", &primary, "-R", "-X", "stream", "-c", "fast", "--no-sync"],
        );
        replica.begin();
        replica
    }

    fn in_folder(bin: PathBuf) -> Self {
        let port = free_port();
        let folder = format!("seawall-postgres-{}-{port}", std::process::id());
        Self { folder: std::env::temp_dir().join(folder), bin, port }
    }

    /// As a user who is not root, whom PostgreSQL serves.
    fn command(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program);
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Into a file: the server would keep a pipe open.
        let told = std::env::temp_dir().join(format!(
            "seawall-postgres-{}-{}.log",
            std::process::id(),
            self.port
        ));
        let log = std::fs::OpenOptions::new().append(true).create(true).open(&told).unwrap();
        command.current_dir("/").arg("-D").arg(&self.folder).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let done = command.status().unwrap();
        let said = std::fs::read_to_string(&told).unwrap_or_default();
        let _ = std::fs::remove_file(&told);
        assert!(done.success(), "{command:?}: {said}");
    }

    /// Started, and ready.
    pub(crate) fn begin(&self) {
        let port = self.port;
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        );
        self.command("pg_ctl", &["-w", "-t", "60", "-o", &options, "start"]);
    }

    /// As a crash would: nobody is told, nothing is written any more.
    pub(crate) fn crash(&self) {
        self.command("pg_ctl", &["-m", "immediate", "-w", "stop"]);
    }

    /// A replica becomes a primary, and begins a history of its own.
    pub(crate) fn promote(&self) {
        self.command("pg_ctl", &["-w", "promote"]);
    }

    /// From now on, of everybody but of `postgres`.
    pub(crate) async fn ask_for_passwords(&self) {
        let rules = "host all postgres 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n\
             host all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.folder.join("pg_hba.conf"), rules).unwrap();
        self.client().await.batch_execute("select pg_reload_conf()").await.unwrap();
    }

    pub(crate) fn postmaster(&self) -> Option<i32> {
        let pid = std::fs::read_to_string(self.folder.join("postmaster.pid")).ok()?;
        pid.lines().next()?.trim().parse().ok()
    }

    pub(crate) fn config(&self) -> Config {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port).parse().unwrap()
    }

    pub(crate) fn clients(&self) -> Clients {
        Clients::connect(self.config(), NoTls)
    }

    pub(crate) fn store(&self) -> LeaseStore {
        LeaseStore::new(&self.clients())
    }

    /// With its table.
    pub(crate) async fn leases(&self) -> LeaseStore {
        let store = self.store();
        store.create_table().await.unwrap();
        store
    }

    /// For what the test itself wants to know.
    pub(crate) async fn client(&self) -> Arc<Client> {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        Arc::new(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            signal(pid, "-CONT");
            signal(pid, "-QUIT"); // at once
            while signal(pid, "-0") {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether it was there to get it.
pub(crate) fn signal(pid: i32, signal: &str) -> bool {
    let pid = pid.to_string();
    let mut kill = Command::new("kill");
    kill.args([signal, &pid]).stderr(Stdio::null()).status().unwrap().success()
}

pub(crate) fn free_port() -> u16 {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any).unwrap().local_addr().unwrap().port()
}

/// The newest there is.
fn bin() -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let told = asked.map(|told| PathBuf::from(String::from_utf8_lossy(&told.stdout).trim()));
    found.pop().or(told.filter(|bin| bin.join("initdb").exists()))
}
