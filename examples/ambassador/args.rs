//! The command line.

use std::time::Duration;

use crate::proxy::Upstream;

pub(crate) const USAGE: &str = "\
The ambassador of one upstream: timeouts, circuit breaking and counting in one place.

usage: ambassador [--seconds N]
       ambassador --listen ADDR --upstream URL [--timeout TIME] [--admin ADDR]

Without --listen and --upstream it shows what it is good for: it starts an upstream that turns
slow, failing, hanging and dead, and puts the same load on it straight and through an ambassador.

  --seconds N      how long the show takes, 5 to 600 [20]; a short one is in fast motion

  --listen ADDR    where to listen, host:port; with port 0 the system chooses one
  --upstream URL   whose ambassador it is, http://host[:port][/path]
  --timeout TIME   how long one call may take until the head of its answer, 300ms or 2s [1s]
  --admin ADDR     where /metrics is served [127.0.0.1:0]

  -h, --help       this text

Exit status: 0 after the show or ctrl-c, 1 if it cannot run, 2 if the arguments make no sense.
";

/// How long the show takes, in seconds: unless told otherwise, at least, and at most.
const SECONDS: (f64, f64, f64) = (20.0, 5.0, 600.0);

/// What to do.
pub(crate) enum Command {
    Help,
    Demo { seconds: f64 },
    Stand(Stand),
}

/// Where to stand.
pub(crate) struct Stand {
    pub(crate) listen: String,
    pub(crate) upstream: Upstream,
    pub(crate) timeout: Duration,
    pub(crate) admin: String,
}

impl Command {
    /// Reads the arguments; the error is a sentence for whoever typed them.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut given = Given::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (option, attached) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let slot = match option {
                "-h" | "--help" => return Ok(Self::Help),
                "--seconds" => &mut given.seconds,
                "--listen" => &mut given.listen,
                "--upstream" => &mut given.upstream,
                "--timeout" => &mut given.timeout,
                "--admin" => &mut given.admin,
                _ => return Err(format!("unknown argument `{argument}`")),
            };
            let value = attached.or_else(|| arguments.next());
            let value = value.ok_or_else(|| format!("{option} needs a value"))?;
            if slot.replace(value).is_some() {
                return Err(format!("{option} is given twice"));
            }
        }
        given.make_sense()
    }
}

/// What was typed.
#[derive(Default)]
struct Given {
    seconds: Option<String>,
    listen: Option<String>,
    upstream: Option<String>,
    timeout: Option<String>,
    admin: Option<String>,
}

impl Given {
    fn make_sense(self) -> Result<Command, String> {
        let Self { seconds, listen, upstream, timeout, admin } = self;
        match (listen, upstream) {
            (None, None) if timeout.is_some() || admin.is_some() => {
                Err("--timeout and --admin need --listen and --upstream".to_owned())
            }
            (None, None) => Ok(Command::Demo { seconds: of_seconds(seconds.as_deref())? }),
            (Some(_), None) => Err("--listen needs --upstream: whose ambassador is it?".to_owned()),
            (None, Some(_)) => Err("--upstream needs --listen: where does it stand?".to_owned()),
            (Some(_), Some(_)) if seconds.is_some() => {
                Err("--seconds is for the show, which has no --listen".to_owned())
            }
            (Some(listen), Some(upstream)) => Ok(Command::Stand(Stand {
                listen: of_address("--listen", listen)?,
                upstream: upstream
                    .parse()
                    .map_err(|why| format!("--upstream {upstream}: {why}"))?,
                timeout: of_time(timeout.as_deref().unwrap_or("1s"))?,
                admin: of_address("--admin", admin.unwrap_or_else(|| "127.0.0.1:0".to_owned()))?,
            })),
        }
    }
}

fn of_seconds(text: Option<&str>) -> Result<f64, String> {
    let (default, least, most) = SECONDS;
    let Some(text) = text else { return Ok(default) };
    let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    seconds.ok_or_else(|| format!("--seconds {text}: a number from {least} to {most}"))
}

fn of_address(option: &str, text: String) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text),
        _ => Err(format!("{option} {text}: an address is host:port, such as 127.0.0.1:8080")),
    }
}

fn of_time(text: &str) -> Result<Duration, String> {
    let seconds = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse::<f64>().map(|millis| millis / 1e3),
        (None, Some(number)) => number.parse::<f64>(),
        (None, None) => return Err(format!("--timeout {text}: a time has a unit, 300ms or 2s")),
    };
    let time = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| format!("--timeout {text}: a time is a positive number and ms or s"))
}
