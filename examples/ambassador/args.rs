//! The command line.

use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderName;

use crate::headers::Origins;
use crate::proxy::Upstream;
use crate::stack::Manners;

pub(crate) const USAGE: &str = "\
The ambassador of one upstream: retries, circuit breaking, timeouts and counting in one place.

usage: ambassador [--seconds N] [--limit N]
       ambassador --listen ADDR --upstream URL [options]

Without --listen and --upstream it shows what it is good for: it starts an upstream that turns
flaky, slow, failing, hanging and dead, and puts the same load on it straight and through an
ambassador.

  --seconds N         how long the show takes, 5 to 600 [20]; a short one is in fast motion

  --listen ADDR       where to listen, host:port; with port 0 the system chooses one
  --upstream URL      whose ambassador it is, http://host[:port][/path]
  --deadline TIME     how long a call may take until the head of its answer, 300ms or 2s [1s]
  --timeout TIME      how long one attempt of it may take [300ms, at most a third of the deadline]
  --limit N           how many calls may be in flight to the upstream at a time [256; 8 in the show]
  --check PATH        what to ask the upstream for, below its URL, to see whether it is well
                      [nothing: whether it takes connections]
  --check-every TIME  how long to pause between two such checks [1s]
  --admin ADDR        where /metrics, /healthz, /readyz and /livez are served [127.0.0.1:0]

  --upstream-http2    speak HTTP/2 to the upstream, without TLS [only for gRPC calls]
  --repeat-grpc       gRPC calls may be repeated: all of them can be acted on twice
  --tell-attempts NAME
                      tell the upstream in this header how many attempts there were before, those
                      of the caller too with --trust
  --trust             believe callers, within bounds, about the time they have left
                      (grpc-timeout), their attempts (the header of --tell-attempts, or
                      grpc-previous-rpc-attempts), idempotency keys and priority [such headers are
                      taken out], and which host and scheme were asked for (X-Forwarded-Host and
                      -Proto) [our own word replaces theirs]
  --forwarded POLICY  what to do with what callers say of where a call comes from, in Forwarded and
                      X-Forwarded-*: append to it, replace it, or tell nobody (off) [append]
  --upgrade-idle TIME how long an upgraded connection (WebSocket) may be silent [300s]
  --explain           tell callers the whole of why they get no answer [no name and no number]

  -h, --help          this text

Exit status: 0 after the show or ctrl-c, 1 if it cannot run, 2 if the arguments make no sense.
";

/// How long the show takes, in seconds: unless told otherwise, at least, and at most.
const SECONDS: (f64, f64, f64) = (20.0, 5.0, 600.0);
/// How many calls at a time: at least, and at most.
const LIMIT: (u32, u32) = (1, 100_000);
/// The same, where nobody knows how many workers the upstream has.
const ANY_LIMIT: u32 = 256;
/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long one attempt may take, if so many of them fit into a call.
const TIMEOUT: Duration = Duration::from_millis(300);
const TIMEOUTS: u32 = 3;
/// Between two checks of the upstream.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// As long as proxies give a stream that says nothing.
const UPGRADE_IDLE: Duration = Duration::from_secs(300);

/// What to do.
pub(crate) enum Command {
    Help,
    Demo { seconds: f64, limit: Option<u32> },
    Stand(Box<Stand>),
}

/// Where to stand, and how.
pub(crate) struct Stand {
    pub(crate) listen: String,
    pub(crate) upstream: Upstream,
    pub(crate) deadline: Duration,
    pub(crate) timeout: Duration,
    pub(crate) limit: u32,
    /// What the upstream is asked for to see whether it is well.
    pub(crate) check: Option<Uri>,
    pub(crate) check_every: Duration,
    pub(crate) admin: String,
    pub(crate) manners: Manners,
    pub(crate) explain: bool,
    pub(crate) origins: Origins,
    pub(crate) upgrade_idle: Duration,
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
            let flag = match option {
                "-h" | "--help" => return Ok(Self::Help),
                "--upstream-http2" => Some(&mut given.upstream_http2),
                "--repeat-grpc" => Some(&mut given.repeat_grpc),
                "--trust" => Some(&mut given.trust),
                "--explain" => Some(&mut given.explain),
                _ => None,
            };
            if let Some(flag) = flag {
                if attached.is_some() {
                    return Err(format!("{option} takes no value"));
                }
                *flag = Some(option.to_owned());
                continue;
            }
            let slot = match option {
                "--seconds" => &mut given.seconds,
                "--listen" => &mut given.listen,
                "--upstream" => &mut given.upstream,
                "--deadline" => &mut given.deadline,
                "--timeout" => &mut given.timeout,
                "--limit" => &mut given.limit,
                "--check" => &mut given.check,
                "--check-every" => &mut given.check_every,
                "--admin" => &mut given.admin,
                "--tell-attempts" => &mut given.tell_attempts,
                "--forwarded" => &mut given.forwarded,
                "--upgrade-idle" => &mut given.upgrade_idle,
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
    deadline: Option<String>,
    timeout: Option<String>,
    limit: Option<String>,
    check: Option<String>,
    check_every: Option<String>,
    admin: Option<String>,
    tell_attempts: Option<String>,
    forwarded: Option<String>,
    upgrade_idle: Option<String>,
    // What takes no value is there or not.
    upstream_http2: Option<String>,
    repeat_grpc: Option<String>,
    trust: Option<String>,
    explain: Option<String>,
}

impl Given {
    fn make_sense(mut self) -> Result<Command, String> {
        let limit = self.limit.take().map(|text| of_limit(&text)).transpose()?;
        match (self.listen.take(), self.upstream.take()) {
            (Some(listen), Some(upstream)) => self.stand(listen, &upstream, limit),
            (Some(_), None) => Err("--listen needs --upstream: whose ambassador is it?".to_owned()),
            (None, Some(_)) => Err("--upstream needs --listen: where does it stand?".to_owned()),
            (None, None) => match self.of_a_stand() {
                Some(option) => Err(format!("{option} needs --listen and --upstream")),
                None => Ok(Command::Demo { seconds: of_seconds(self.seconds.as_deref())?, limit }),
            },
        }
    }

    /// An option that the show has not.
    fn of_a_stand(&self) -> Option<&'static str> {
        let options = [
            ("--deadline", &self.deadline),
            ("--timeout", &self.timeout),
            ("--check", &self.check),
            ("--check-every", &self.check_every),
            ("--admin", &self.admin),
            ("--tell-attempts", &self.tell_attempts),
            ("--forwarded", &self.forwarded),
            ("--upgrade-idle", &self.upgrade_idle),
            ("--upstream-http2", &self.upstream_http2),
            ("--repeat-grpc", &self.repeat_grpc),
            ("--trust", &self.trust),
            ("--explain", &self.explain),
        ];
        options.into_iter().find(|(_, value)| value.is_some()).map(|(option, _)| option)
    }

    fn stand(self, listen: String, upstream: &str, limit: Option<u32>) -> Result<Command, String> {
        if self.seconds.is_some() {
            return Err("--seconds is for the show, which has no --listen".to_owned());
        }
        let time = |option, text: Option<String>, default| {
            text.map_or(Ok(default), |text| of_time(option, &text))
        };
        let upstream: Upstream =
            upstream.parse().map_err(|why| format!("--upstream {upstream}: {why}"))?;
        let deadline = time("--deadline", self.deadline, DEADLINE)?;
        let timeout = time("--timeout", self.timeout, TIMEOUT.min(deadline / TIMEOUTS))?;
        if timeout >= deadline {
            // The deadline would always come first, and says nothing about the upstream.
            return Err(format!("--timeout {timeout:?} must be less than --deadline {deadline:?}"));
        }
        let admin = self.admin.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        Ok(Command::Stand(Box::new(Stand {
            listen: of_address("--listen", listen)?,
            check: self.check.map(|path| of_path(&path, &upstream)).transpose()?,
            upstream,
            deadline,
            timeout,
            limit: limit.unwrap_or(ANY_LIMIT),
            check_every: time("--check-every", self.check_every, CHECK_EVERY)?,
            admin: of_address("--admin", admin)?,
            manners: Manners {
                http2: self.upstream_http2.is_some(),
                trust: self.trust.is_some(),
                tell_attempts: self.tell_attempts.as_deref().map(of_header).transpose()?,
                repeat_grpc: self.repeat_grpc.is_some(),
            },
            explain: self.explain.is_some(),
            origins: self.forwarded.as_deref().map(of_origins).transpose()?.unwrap_or_default(),
            upgrade_idle: time("--upgrade-idle", self.upgrade_idle, UPGRADE_IDLE)?,
        })))
    }
}

fn of_seconds(text: Option<&str>) -> Result<f64, String> {
    let (default, least, most) = SECONDS;
    let Some(text) = text else { return Ok(default) };
    let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    seconds.ok_or_else(|| format!("--seconds {text}: a number from {least} to {most}"))
}

fn of_limit(text: &str) -> Result<u32, String> {
    let (least, most) = LIMIT;
    let limit = text.parse().ok().filter(|limit| (least..=most).contains(limit));
    limit.ok_or_else(|| format!("--limit {text}: a whole number from {least} to {most}"))
}

fn of_address(option: &str, text: String) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text),
        _ => Err(format!("{option} {text}: an address is host:port, such as 127.0.0.1:8080")),
    }
}

fn of_origins(text: &str) -> Result<Origins, String> {
    match text {
        "append" => Ok(Origins::Append),
        "replace" => Ok(Origins::Replace),
        "off" => Ok(Origins::Off),
        _ => Err(format!("--forwarded {text}: append, replace or off")),
    }
}

fn of_header(text: &str) -> Result<HeaderName, String> {
    let name = text.parse();
    name.map_err(|_| {
        format!("--tell-attempts {text}: a header's name, such as x-previous-attempts")
    })
}

fn of_path(text: &str, upstream: &Upstream) -> Result<Uri, String> {
    let path = text.starts_with('/').then(|| text.parse().ok()).flatten();
    let target = path.and_then(|path| upstream.join(&path));
    target.ok_or_else(|| format!("--check {text}: a path begins with a slash, such as /healthz"))
}

fn of_time(option: &str, text: &str) -> Result<Duration, String> {
    let seconds = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse::<f64>().map(|millis| millis / 1e3),
        (None, Some(number)) => number.parse::<f64>(),
        (None, None) => return Err(format!("{option} {text}: a time has a unit, 300ms or 2s")),
    };
    let time = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{option} {text}: a time is a positive number and ms or s"))
}
