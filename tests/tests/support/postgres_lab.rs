//! Servers of PostgreSQL: a router and the nodes A and B, each with a data folder of its own.

use anyhow::{Context, Result, ensure};
use isotherm_tests::host::Host;
use isotherm_tests::process::{Child, POLL};
use isotherm_tests::workspace::target_dir;
use nix::sys::signal::Signal;
use nix::unistd::{User, chown};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// How long a server may take to answer; on a busy machine, most of it is waiting for a processor.
const LIMIT: Duration = Duration::from_secs(60);

/// The router's number.
pub(crate) const ROUTER: usize = 0;
/// The node that has the partition at first.
pub(crate) const A: usize = 1;
/// The other node.
pub(crate) const B: usize = 2;

/// The port of servers on machines of their own.
const PORT: u16 = 5432;

/// Who the adapter and the clients are.
pub(crate) const USER: &str = "isotherm";
/// Their password.
pub(crate) const PASSWORD: &str = "a 'secret'";
/// Where the tables are.
pub(crate) const DATABASE: &str = "shop";

/// The partition that tests move, and its table.
pub(crate) const PARTITION: &str = "public.orders_1";

const CONFIG: &str = "wal_level = logical\nmax_slot_wal_keep_size = 256MB\n\
    wal_retrieve_retry_interval = 500ms\nshared_buffers = 32MB\nmax_connections = 60\n";

/// The table as the nodes have it, with what is easily forgotten in a copy.
const TABLE: &str = "(id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0, \"the Note\" text COLLATE \"C\", \
    twice bigint GENERATED ALWAYS AS (version * 2) STORED, tags text[], at timestamptz DEFAULT now(), \
    CONSTRAINT positive CHECK (version >= 0))";

pub(crate) const COLUMNS: &str = "(id bigint NOT NULL, version bigint NOT NULL DEFAULT 0, \"the Note\" text COLLATE \"C\", \
    twice bigint GENERATED ALWAYS AS (version * 2) STORED, tags text[], at timestamptz DEFAULT now())";

/// The servers.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: TempDir,
    programs: PathBuf,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    host: Host,
    port: u16,
    child: Option<Child>,
}

impl Lab {
    /// Starts the servers on loopback ports, with one empty partition on A and one on B.
    pub(crate) async fn start() -> Result<Self> {
        let host = || Host::here(Ipv4Addr::LOCALHOST);
        let servers = ports()?.into_iter().map(|port| Server { host: host(), port, child: None });
        Self::on(servers.collect(), tempfile::tempdir()?).await
    }

    /// The same on machines of their own: the router's, A's and B's. Data folders in `folder` are made unless they are
    /// there.
    pub(crate) async fn on_hosts(hosts: [Host; 3], folder: TempDir) -> Result<Self> {
        Self::on(hosts.map(|host| Server { host, port: PORT, child: None }).into(), folder).await
    }

    async fn on(servers: Vec<Server>, folder: TempDir) -> Result<Self> {
        own(folder.path())?;
        let programs = programs()?;
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n"))?;
        own(&folder.path().join("password"))?;
        let mut lab = Self { folder, programs, servers };
        for server in [ROUTER, A, B] {
            lab.make(server)?;
            lab.run(server).await?;
            lab.client_of(server, "postgres")
                .await?
                .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
                .await?;
        }
        lab.fill().await?;
        Ok(lab)
    }

    async fn fill(&self) -> Result<()> {
        self.run_on(
            A,
            &format!("CREATE TABLE orders_1 {TABLE}; CREATE INDEX by_note ON orders_1 (\"the Note\")"),
        )
        .await?;
        self.run_on(
            A,
            "CREATE ROLE reader; GRANT SELECT ON orders_1 TO reader; COMMENT ON TABLE orders_1 IS 'first'",
        )
        .await?;
        self.run_on(B, &format!("CREATE ROLE reader; CREATE TABLE orders_2 {TABLE}")).await?;
        let mut sql =
            format!("CREATE EXTENSION postgres_fdw; CREATE TABLE orders {COLUMNS} PARTITION BY RANGE (id);");
        let password = PASSWORD.replace('\'', "''");
        for (node, name) in [(A, "pg_a"), (B, "pg_b")] {
            let (host, port) = (self.servers[node].host.address(), self.port(node));
            sql += &format!(
                "CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw \
                    OPTIONS (host '{host}', port '{port}', dbname '{DATABASE}'); \
                 CREATE USER MAPPING FOR {USER} SERVER {name} OPTIONS (user '{USER}', password '{password}');"
            );
        }
        for (number, server, from, to) in [(1, "pg_a", "0", "1000000"), (2, "pg_b", "1000000", "2000000")] {
            sql += &format!(
                "CREATE FOREIGN TABLE orders_{number} PARTITION OF orders \
                    FOR VALUES FROM ({from}) TO ({to}) SERVER {server};"
            );
        }
        self.run_on(ROUTER, &sql).await
    }

    /// Rows with ids from 0 in the partition that is moved.
    pub(crate) async fn rows(&self, rows: u32) -> Result<()> {
        let sql = format!(
            "INSERT INTO orders_1 (id, \"the Note\", tags) SELECT n, repeat(md5(n::text), 8), ARRAY[n::text, NULL] \
                FROM generate_series(0, {rows} - 1) AS n; ANALYZE orders_1"
        );
        self.run_on(A, &sql).await
    }

    /// A server's port.
    #[must_use]
    pub(crate) fn port(&self, server: usize) -> u16 {
        self.servers[server].port
    }

    /// Where the password is.
    #[must_use]
    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// The name of a node: its address.
    #[must_use]
    pub(crate) fn address(&self, server: usize) -> String {
        format!("{}:{}", self.servers[server].host.address(), self.port(server))
    }

    /// Whether a server was started and not ended.
    #[must_use]
    pub(crate) fn runs(&self, server: usize) -> bool {
        self.servers[server].child.is_some()
    }

    /// Looks which servers have ended by themselves, as one does whose disk is full.
    pub(crate) fn forget_ended(&mut self) -> Result<()> {
        for server in &mut self.servers {
            if let Some(child) = &mut server.child
                && child.ended()?.is_some()
            {
                server.child = None;
            }
        }
        Ok(())
    }

    fn data(&self, server: usize) -> PathBuf {
        data(self.folder.path(), server)
    }

    /// A command as the user that servers run as: none of them starts as root.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        if !nix::unistd::geteuid().is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        // Another user than its parent's forgets whose death it was to die with.
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=KILL"]).arg(path);
        command
    }

    /// Makes a data folder: a copy of one that is kept beside what is built, since initdb takes seconds.
    fn make(&self, server: usize) -> Result<()> {
        let (kept, data) = (self.kept(server)?, self.data(server));
        let host = &self.servers[server].host;
        let (address, port) = (host.address(), self.port(server));
        // Sockets in a folder would be in each other's way, as all have the same port.
        let config =
            format!("{CONFIG}listen_addresses = '{address}'\nport = {port}\nunix_socket_directories = ''\n");
        host.run(move || {
            fs::create_dir_all(&data)?;
            copy(&kept.join("."), &data)?;
            fs::write(data.join("postgresql.auto.conf"), config)?;
            // Without passwords, whose hashing takes an unoptimised client most of its time.
            let access = "host all all 10.77.0.0/24 trust\n";
            let mut file = OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
            file.write_all(access.as_bytes()).context("write pg_hba.conf")
        })?
    }

    fn kept(&self, server: usize) -> Result<PathBuf> {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.programs.parent().and_then(Path::file_name).context("a version")?;
        let name = format!("postgres-{}-{server}", version.display());
        let kept = target_dir().join("tmp").join(name);
        if !kept.exists() {
            let new = self.folder.path().join(format!("new{server}"));
            self.initialize(&new)?;
            let half = kept.with_extension(std::process::id().to_string());
            copy(&new, &half)?;
            fs::remove_dir_all(&new)?;
            // Another run may have made it meanwhile, and is as good.
            if fs::rename(&half, &kept).is_err() {
                fs::remove_dir_all(&half)?;
            }
        }
        Ok(kept)
    }

    fn initialize(&self, data: &Path) -> Result<()> {
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(data).args(["--username", USER, "--no-sync"]);
        command.arg("--pwfile").arg(self.password_file());
        command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]);
        let output = command.current_dir(self.folder.path()).output().context("run initdb")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts a server that does not run, with the files it left.
    pub(crate) async fn run(&mut self, server: usize) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let log = self.folder.path().join(format!("log{server}"));
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data(server)).current_dir(self.folder.path());
        let child = self.servers[server].host.spawn(&format!("postgres {server}"), command, &log)?;
        self.servers[server].child = Some(child);
        while self.client_of(server, "postgres").await.is_err() {
            self.servers[server].child.as_mut().context("was started")?.ensure_alive()?;
            ensure!(Instant::now() < deadline, "server {server} does not answer");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends a server at once, as a crash does: it recovers from its log when it starts again.
    pub(crate) fn kill(&mut self, server: usize) -> Result<()> {
        let mut child = self.servers[server].child.take().context("it runs")?;
        child.signal(Signal::SIGQUIT)?;
        let deadline = Instant::now() + LIMIT;
        while child.ended()?.is_none() {
            ensure!(Instant::now() < deadline, "server {server} does not end");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// A session with a server, as somebody who may do all.
    pub(crate) async fn client(&self, server: usize) -> Result<Client> {
        self.client_of(server, DATABASE).await
    }

    async fn client_of(&self, server: usize, database: &str) -> Result<Client> {
        connect(&self.address(server), database).await
    }

    /// Runs statements on a server.
    pub(crate) async fn run_on(&self, server: usize, sql: &str) -> Result<()> {
        let client = self.client(server).await?;
        client.batch_execute(sql).await.with_context(|| format!("{sql} on server {server}"))
    }

    /// Numbers that a query gives, one a row.
    pub(crate) async fn numbers(&self, server: usize, sql: &str) -> Result<Vec<i64>> {
        let rows = self.client(server).await?.query(sql, &[]).await.with_context(|| sql.to_owned())?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What anybody can find on the servers that a migration might have made.
    pub(crate) async fn leftovers(&self) -> Result<Vec<String>> {
        const SQL: &str = "SELECT 'slot ' || slot_name FROM pg_replication_slots \
            UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
            UNION ALL SELECT 'subscription ' || subname FROM pg_subscription \
            UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal \
            UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname ~ '^iso_.*_fence$' \
            UNION ALL SELECT 'relation ' || relname FROM pg_class WHERE relname ~ '^iso_'";
        let mut left = Vec::new();
        for server in [ROUTER, A, B] {
            for row in self.client(server).await?.query(SQL, &[]).await? {
                left.push(format!("{} on {server}", row.get::<_, &str>(0)));
            }
        }
        Ok(left)
    }

    /// Whether a server has the table of the partition that is moved.
    pub(crate) async fn has_table(&self, server: usize) -> Result<bool> {
        let found =
            self.numbers(server, "SELECT 1::bigint WHERE to_regclass('orders_1') IS NOT NULL").await?;
        Ok(!found.is_empty())
    }
}

/// Where a server's files are, in the lab's folder.
#[must_use]
pub(crate) fn data(folder: &Path, server: usize) -> PathBuf {
    folder.join(server.to_string())
}

/// A session with the server at this address.
pub(crate) async fn connect(address: &str, database: &str) -> Result<Client> {
    let (host, port) = address.split_once(':').context("an address is HOST:PORT")?;
    let mut config = tokio_postgres::Config::new();
    config.host(host).port(port.parse()?).dbname(database).user(USER).password(PASSWORD);
    let (client, connection) = config.connect_timeout(Duration::from_secs(2)).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The newest server of the system, of 15 or later.
fn programs() -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").context("please run `cargo xtask setup tests`")? {
        let path = entry?.path();
        let version = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        found.extend(version.filter(|version| *version >= 15).map(|version| (version, path.join("bin"))));
    }
    let newest = found.into_iter().max();
    Ok(newest.context("no PostgreSQL 15 or later in /usr/lib/postgresql: install Debian's postgresql")?.1)
}

/// Copies a folder with its owner and rights.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output().context("run cp")?;
    ensure!(output.status.success(), "cp: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Gives a file to the user that servers run as.
fn own(path: &Path) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        let user = User::from_name("postgres")?.context("Debian's postgresql makes a user postgres")?;
        chown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Ports that were free a moment ago: all are held until all are found, so that none is found twice.
fn ports() -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
