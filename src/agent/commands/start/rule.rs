//! Whether an agent of this user's is to be started here. Pure; [`Found`] is what was found.
//!
//! An application that is metered for the first time must not leave a process behind where somebody else looks
//! after processes, or where it would not outlive the application: so not as root, in a service, in CI, on a
//! serverless platform; not beside an agent that somebody installed or configured; not with its log on another
//! machine's disk. `REVENIUM_AGENT_AUTOSTART` overrides all of that, but not `REVENIUM_METERING_DISABLED`.

use std::path::{Path, PathBuf};

use revenium_emitter::place::SYSTEM_SOCKET;

/// Starts one all the same (1), or never (0).
pub(super) const AUTOSTART: &str = "REVENIUM_AGENT_AUTOSTART";

/// Nothing is metered.
const DISABLED: &str = "REVENIUM_METERING_DISABLED";

/// Variables that systems for continuous integration set, beside `CI`, which most do (Travis, Drone, Bitbucket,
/// Semaphore, Heroku CI and those below down to CircleCI); Jenkins, TeamCity, CodeBuild, Azure Pipelines, Bamboo
/// and GoCD do not. As <https://github.com/watson/ci-info/blob/master/vendors.json> knows them.
const CI: [&str; 10] = [
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "BUILDKITE",
    "CIRCLECI",
    "CODEBUILD_BUILD_ID",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "bamboo_planKey",
    "GO_PIPELINE_LABEL",
];

/// Variables that serverless platforms set.
///
/// - AWS Lambda: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
/// - Google Cloud Run's services and functions, jobs, worker pools:
///   <https://cloud.google.com/run/docs/container-contract#env-vars>; functions of the first generation have
///   `FUNCTION_TARGET`: <https://cloud.google.com/functions/1stgendocs/configuring/env-var>
/// - Google App Engine, standard: <https://cloud.google.com/appengine/docs/standard/python3/runtime>
/// - Azure Functions: <https://learn.microsoft.com/azure/azure-functions/functions-app-settings>
/// - Vercel: <https://vercel.com/docs/environment-variables/system-environment-variables>
/// - Netlify: <https://docs.netlify.com/build/configure-builds/environment-variables/>
const SERVERLESS: [&str; 9] = [
    "AWS_LAMBDA_FUNCTION_NAME",
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "CLOUD_RUN_WORKER_POOL",
    "FUNCTION_TARGET",
    "GAE_ENV",
    "FUNCTIONS_WORKER_RUNTIME",
    "VERCEL",
    "NETLIFY",
];

/// What decides, as it is around this process.
pub(super) struct Found<'a> {
    /// A variable; one that is empty counts as not set.
    pub(super) var: &'a dyn Fn(&str) -> Option<String>,
    pub(super) uid: u32,
    /// `/proc/self/cgroup`.
    pub(super) cgroup: String,
    /// Where the agent would listen.
    pub(super) socket: PathBuf,
    /// Files that exist: the machine's agent's socket or configuration.
    pub(super) machine: Option<PathBuf>,
    /// The configuration of an agent of the user's own, if it exists.
    pub(super) own_config: Option<PathBuf>,
    /// The network file system that the log would be on.
    pub(super) network_fs: Option<&'static str>,
}

/// Why none is started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("nothing is metered: {DISABLED} is 1")]
    Disabled,
    #[error("{AUTOSTART} is 0")]
    Forbidden,
    #[error("this is root: install the machine's agent, see `revenium-agent setup`")]
    Root,
    #[error("this is the service {0}: install the machine's agent, see `revenium-agent setup`")]
    Systemd(String),
    #[error("this is a serverless platform ({0} is set), where nothing may run beside a request")]
    Serverless(&'static str),
    #[error("this is continuous integration ({0} is set)")]
    Ci(&'static str),
    #[error("the machine's agent is installed ({}): it is used once it runs", .0.display())]
    SystemAgent(PathBuf),
    #[error("an agent is configured in {}: start it with `revenium-agent run`", .0.display())]
    OwnConfiguration(PathBuf),
    #[error("its log would be on a network file system ({0})")]
    NetworkFs(&'static str),
}

impl Reason {
    /// Its code in the answer.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Forbidden => "forbidden",
            Self::Root => "root",
            Self::Systemd(_) => "systemd",
            Self::Serverless(_) => "serverless",
            Self::Ci(_) => "ci",
            Self::SystemAgent(_) => "system_agent",
            Self::OwnConfiguration(_) => "own_configuration",
            Self::NetworkFs(_) => "network_fs",
        }
    }
}

/// The variable says neither yes nor no.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{AUTOSTART} is {0:?}: set it to 1 to start an agent anywhere, to 0 to start none, or not at all")]
pub(super) struct Unclear(String);

/// `None`: it is to be started.
pub(super) fn objection(found: &Found<'_>) -> Result<Option<Reason>, Unclear> {
    if (found.var)(DISABLED).as_deref() == Some("1") {
        return Ok(Some(Reason::Disabled));
    }
    match (found.var)(AUTOSTART).as_deref() {
        None => Ok(by_place(found)),
        Some("0") => Ok(Some(Reason::Forbidden)),
        Some("1") => Ok(None),
        Some(other) => Err(Unclear(other.to_owned())),
    }
}

fn by_place(found: &Found<'_>) -> Option<Reason> {
    let is_set = |name: &&&str| (found.var)(name).is_some();
    let is_ci = (found.var)("CI").is_some_and(|value| !["0", "false"].contains(&&*value.to_lowercase()));
    // Before whose agent it is: these end with the application whoever installed one.
    if found.uid == 0 {
        return Some(Reason::Root);
    }
    if let Some(service) = service(&found.cgroup) {
        return Some(Reason::Systemd(service.to_owned()));
    }
    if let Some(name) = SERVERLESS.iter().find(is_set) {
        return Some(Reason::Serverless(name));
    }
    if let Some(name) = Some(&"CI").filter(|_| is_ci).or_else(|| CI.iter().find(is_set)) {
        return Some(Reason::Ci(name));
    }
    let is_machines = found.socket == Path::new(SYSTEM_SOCKET);
    let machine = found.machine.clone().or_else(|| is_machines.then(|| found.socket.clone()));
    machine
        .map(Reason::SystemAgent)
        .or_else(|| found.own_config.clone().map(Reason::OwnConfiguration))
        .or_else(|| found.network_fs.map(Reason::NetworkFs))
}

/// The service that this process is in, by the hierarchy that systemd keeps. Applications of a desktop,
/// terminals among them, may be services as well, and are called `app-…`.
fn service(cgroup: &str) -> Option<&str> {
    let is_service = |name: &&str| name.ends_with(".service") && !name.starts_with("app-");
    cgroup.lines().filter_map(unit).find(is_service)
}

/// The unit in a line of the hierarchy that is systemd's own.
fn unit(line: &str) -> Option<&str> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let is_systemds = ["", "name=systemd"].contains(&controllers);
    path.rsplit('/').next().filter(|_| is_systemds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        change: impl FnOnce(&mut Found<'_>),
        vars: &[(&str, &str)],
    ) -> Result<Option<&'static str>, Unclear> {
        let var = |name: &str| vars.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let mut found = Found {
            var: &var,
            uid: 1000,
            cgroup: "0::/user.slice/user-1000.slice/session-2.scope\n".to_owned(),
            socket: "/run/user/1000/revenium/agent.sock".into(),
            machine: None,
            own_config: None,
            network_fs: None,
        };
        change(&mut found);
        objection(&found).map(|reason| reason.map(|reason| reason.code()))
    }

    #[test]
    fn a_user_who_has_no_agent_gets_one() {
        assert_eq!(judged(|_| {}, &[]), Ok(None));
        assert_eq!(judged(|_| {}, &[("CI", "false"), ("INVOCATION_ID", "x")]), Ok(None));
        assert_eq!(judged(|_| {}, &[("FUNCTION_NAME", "backup")]), Ok(None), "anybody's word");
    }

    /// What is found, variables, and the code of the reason.
    type Case<'a> = (fn(&mut Found<'_>), &'a [(&'a str, &'a str)], &'a str);

    #[test]
    fn where_somebody_else_looks_after_processes_none_is_started() {
        let no_vars: &[(&str, &str)] = &[];
        let cases: [Case<'_>; 16] = [
            (|found| found.uid = 0, no_vars, "root"),
            (|found| found.cgroup = "0::/system.slice/worker.service\n".to_owned(), no_vars, "systemd"),
            (|_| {}, &[("AWS_LAMBDA_FUNCTION_NAME", "f")], "serverless"),
            (|_| {}, &[("K_SERVICE", "s"), ("CI", "1")], "serverless"),
            (|_| {}, &[("FUNCTIONS_WORKER_RUNTIME", "python")], "serverless"),
            (|_| {}, &[("CLOUD_RUN_WORKER_POOL", "p")], "serverless"),
            (|_| {}, &[("GAE_ENV", "standard")], "serverless"),
            (|_| {}, &[("CI", "true")], "ci"),
            (|_| {}, &[("TF_BUILD", "True")], "ci"),
            (|_| {}, &[("bamboo_planKey", "APP-BUILD")], "ci"),
            (|_| {}, &[("GO_PIPELINE_LABEL", "7")], "ci"),
            (|found| found.machine = Some("/etc/revenium-agent/config.toml".into()), no_vars, "system_agent"),
            (|found| found.socket = SYSTEM_SOCKET.into(), no_vars, "system_agent"),
            (|found| found.own_config = Some("/home/a/config.toml".into()), no_vars, "own_configuration"),
            (|found| found.network_fs = Some("nfs"), no_vars, "network_fs"),
            (|_| {}, &[("REVENIUM_METERING_DISABLED", "1")], "disabled"),
        ];
        for (change, vars, code) in cases {
            assert_eq!(judged(change, vars), Ok(Some(code)), "{vars:?}");
            let mut overridden = vars.to_vec();
            overridden.push((AUTOSTART, "1"));
            let expected = (code == "disabled").then_some("disabled");
            assert_eq!(judged(change, &overridden), Ok(expected), "{code} with {AUTOSTART}=1");
        }
        assert_eq!(judged(|_| {}, &[(AUTOSTART, "0")]), Ok(Some("forbidden")));
        let unclear = judged(|_| {}, &[(AUTOSTART, "yes")]).expect_err("neither");
        assert!(unclear.to_string().starts_with("REVENIUM_AGENT_AUTOSTART is \"yes\""), "{unclear}");
    }

    #[test]
    fn only_the_innermost_unit_of_systemds_own_hierarchy_makes_a_service() {
        for (cgroup, expected) in [
            ("0::/system.slice/worker.service", Some("worker.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/jobs.service", Some("jobs.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/", Some("cron.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/vte-spawn-1.scope", None),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/app-org.kde.konsole@1.service", None),
            ("0::/user.slice/user-1.slice/session-c1.scope", None),
            ("8:memory:/system.slice/docker.service\n1:name=systemd:/docker/0123\n", None),
            ("0::/", None),
            ("", None),
            ("odd", None),
        ] {
            assert_eq!(service(cgroup), expected, "{cgroup}");
        }
    }
}
