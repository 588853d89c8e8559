use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::output_of;
use crate::distribution::{fetch_kafka, report_to_stderr};
use crate::port::{self, Port};
use crate::server::{Probe, Server};
use crate::user::RunAs;
use crate::{Error, kafka_wire, wait};

/// One node, so any well-formed id does.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// A single-node Kafka (KRaft, broker and controller in one) on 127.0.0.1, without encryption or authentication.
/// Dropping it stops the broker and removes its data.
#[derive(Debug)]
pub struct Kafka {
    home: PathBuf,
    java: PathBuf,
    brokers: String,
    server: Server,
    port: Port,
    _controller_port: Port,
}

/// Configures a [`Kafka`].
#[derive(Debug, Clone, Default)]
pub struct KafkaBuilder {
    properties: BTreeMap<String, String>,
}

impl Kafka {
    /// A broker with `auto.create.topics.enable` and 3 partitions per topic.
    ///
    /// # Errors
    /// As [`KafkaBuilder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A broker with other properties.
    pub fn builder() -> KafkaBuilder {
        KafkaBuilder::default()
    }

    /// `127.0.0.1:PORT`; restarts keep it.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The port of [`brokers`](Self::brokers).
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The directory of the topics' logs.
    pub fn data_dir(&self) -> PathBuf {
        self.server.dir().join("data")
    }

    /// Creates a topic, and returns when each of its partitions has its leader.
    ///
    /// # Errors
    /// The broker's answer: the topic exists, a configuration is unknown.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), Error> {
        let broker = self.address();
        let what = || format!("creating topic '{name}'");
        kafka_wire::create_topic(broker, wait::DEADLINE, name, partitions, configs)
            .map_err(|error| self.server.refused(what(), error))?
            .map_err(|why| self.server.refused(what(), why))?;
        let wanted = usize::try_from(partitions).unwrap_or_default().max(1);
        wait::until(wait::DEADLINE, || {
            let led = kafka_wire::partitions_led(broker, wait::DEADLINE, name).ok()?;
            (led >= wanted).then_some(())
        })
        .ok_or_else(|| self.server.refused(what(), "its partitions got no leader"))
    }

    /// Runs a tool of the distribution by its class (`org.apache.kafka.tools.GetOffsetShell`) and
    /// returns what it printed to standard output. Takes seconds: each run starts a JVM.
    ///
    /// # Errors
    /// It exited with another code than 0; the error contains its output.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut java = java_command(Command::new(&self.java), &self.home, "256M", "WARN");
        let output = output_of(java.arg(class).args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops it in order (SIGTERM).
    ///
    /// # Errors
    /// It did not stop in time; it has been killed.
    pub fn stop(&self) -> Result<(), Error> {
        self.server.stop(Signal::SIGTERM)
    }

    /// SIGKILL, like a power failure.
    ///
    /// # Errors
    /// A process survived.
    pub fn kill(&self) -> Result<(), Error> {
        self.server.kill()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn pause(&self) -> Result<(), Error> {
        self.server.pause()
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn resume(&self) -> Result<(), Error> {
        self.server.resume()
    }

    /// Starts it unless it runs, on the same port and data, and waits until the broker is registered
    /// with the controller and answers for itself.
    ///
    /// # Errors
    /// It did not start; the error contains the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        let arguments = |command: &mut Command| {
            add_java_arguments(command, &self.home, "512M", "INFO");
            command.arg("kafka.Kafka").arg(properties_path(&self.server));
            Ok(())
        };
        let probe = || match kafka_wire::broker_count(self.address(), Duration::from_secs(5)) {
            Ok(0) => Probe::NotYet("the broker is not registered with the controller yet".to_owned()),
            Ok(_) => Probe::Ready,
            Err(error) => Probe::NotYet(error.to_string()),
        };
        self.server.start(&self.java, arguments, probe)
    }

    /// [`stop`](Self::stop), then [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// As both.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Whether the process runs, paused or not.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// The last `lines` lines of the broker's log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.server.log_tail(lines)
    }

    /// The broker's process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.server.main_process().map(nix::unistd::Pid::as_raw)
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }
}

impl KafkaBuilder {
    /// A line of `server.properties`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A broker with its data directory and its port, not started yet: the first
    /// [`start_again`](Kafka::start_again) starts it.
    ///
    /// # Errors
    /// The programs could not be fetched, or the storage could not be formatted.
    pub fn prepare(self) -> Result<Kafka, Error> {
        let home = fetch_kafka(&report_to_stderr)?;
        let java = java();
        let port = Port::claim()?;
        let controller_port = Port::claim()?;
        let server = Server::new("Kafka 4.1.0".to_owned(), "kafka", RunAs::Myself)?;

        let mut properties = default_properties(&server, port.number(), controller_port.number());
        properties.extend(self.properties);
        let text: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let path = properties_path(&server);
        fs::write(&path, text).map_err(Error::at("writing", &path))?;

        let mut format = java_command(server.command(&java), &home, "256M", "WARN");
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&path);
        output_of(&mut format)?;

        let brokers = format!("127.0.0.1:{}", port.number());
        Ok(Kafka { home, java, brokers, server, port, _controller_port: controller_port })
    }

    /// A broker that answers requests.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`Kafka::start_again`].
    pub fn start(self) -> Result<Kafka, Error> {
        port::retry_when_taken(|| {
            let kafka = self.clone().prepare()?;
            kafka.start_again()?;
            Ok(kafka)
        })
    }
}

fn default_properties(server: &Server, port: u16, controller_port: u16) -> BTreeMap<String, String> {
    let mut properties: BTreeMap<_, _> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("auto.create.topics.enable", "true"),
        ("num.partitions", "3"),
        ("group.initial.rebalance.delay.ms", "0"),
        // One replica, and few partitions, because the first group creates them all.
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "3"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "3"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        // After a SIGKILL the controller refuses the broker until the old one's session has ended, 9 s by
        // default.
        ("broker.session.timeout.ms", "4000"),
        ("broker.heartbeat.interval.ms", "500"),
        // A quarter of the heap by default.
        ("log.cleaner.dedupe.buffer.size", "16777216"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    set("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"));
    set("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}"));
    set("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}"));
    set("log.dirs", server.dir().join("data").display().to_string());
    properties
}

fn properties_path(server: &Server) -> PathBuf {
    server.dir().join("server.properties")
}

fn java() -> PathBuf {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.map(|home| home.join("bin/java")).filter(|java| java.exists()).unwrap_or_else(|| "java".into())
}

fn java_command(mut command: Command, home: &Path, heap: &str, log_level: &str) -> Command {
    add_java_arguments(&mut command, home, heap, log_level);
    command
}

/// A JVM that starts fast and stays small; its performance data would be files outside the server's
/// directory.
fn add_java_arguments(command: &mut Command, home: &Path, heap: &str, log_level: &str) {
    let log4j = home.join("log4j2.properties");
    command
        .arg(format!("-Xmx{heap}"))
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"])
        .arg(home.join("libs/*"))
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg(format!("-Dtestbed.log.level={log_level}"));
}
