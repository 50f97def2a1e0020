//! What an agent gives to Prometheus, and what ships for Prometheus and Grafana, judged by both.
//!
//! An alert's expression gives nothing while all is well, so what is asked of it is that each of its
//! selectors (a metric with its labels) finds series; `ops/prometheus/tests.yml` shows that it tells when it
//! should. Recordings and panels must give data as they are.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use revenium_agent::metrics::Metrics;
use serde_json::Value;

use crate::prometheus::{Prometheus, ops, promtool, selectors};
use crate::support::{Agent, Home, Line, Sandbox, SpoolFile, completion, until};

fn read(name: &str) -> String {
    fs::read_to_string(ops(name)).unwrap_or_else(|error| panic!("cannot read ops/{name}: {error}"))
}

/// The values of `key:` in a YAML file, in order.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::to_owned).collect()
}

/// Every panel's title and expressions, with variables as Grafana would fill them in.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("grafana/agent.json")).expect("JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().expect("an expression");
            let filled = expr.replace("$__rate_interval", "1m").replace("$instance", ".*");
            assert!(!filled.contains('$'), "{title}: a variable that is not known here: {expr}");
            found.push((format!("panel {title}"), filled));
        }
    }
    assert!(found.len() > 30, "the panels were not found");
    found
}

/// An agent with something to see: delivered, refused by Revenium, refused at intake, spooled, and a spooled
/// line that is no event.
fn busy(home: &Home) -> (Sandbox, Agent) {
    let sandbox = home.sandbox(&["--fault-script", r#"{"steps":[{"fault":{"kind":"422"},"times":1}]}"#]);
    home.deliver_to(&sandbox, "");
    let mut file = SpoolFile::with_events(7, 1, 2);
    file.line("no event");
    file.put(&home.path("spool"));
    let agent = home.start();
    let mut line = Line::connect(&home.socket());
    for model in ["one", "two", "three"] {
        assert_eq!(line.ask(&completion(model))["ok"], true);
    }
    assert_eq!(line.ask(r#"{"kind":"tool","toolId":" "}"#)["ok"], false);
    home.wait_status("the spool file is taken in", |status| status["spool"]["quarantine_bytes"] != 0);
    home.wait_drained();
    (sandbox, agent)
}

/// Those that Prometheus has no data for, each with why.
fn unanswered(prometheus: &Prometheus, asked: &[(String, String)]) -> Vec<String> {
    let why = |expression: &str| match prometheus.query(expression) {
        Ok(series) if series.is_empty() => Some("no data".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    asked
        .iter()
        .filter_map(|(of, expression)| Some(format!("{of}: {expression}: {}", why(expression)?)))
        .collect()
}

/// Everything that the rules ask for, once Prometheus has evaluated all of them without an error.
fn asked_by_rules(prometheus: &Prometheus) -> Vec<(String, String)> {
    let look = || -> Result<Vec<Value>, String> {
        let data = prometheus.ask("/api/v1/rules")?;
        let groups = data["groups"].as_array().into_iter().flatten();
        Ok(groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    };
    let is_evaluated = |rules: &Result<Vec<Value>, String>| {
        rules
            .as_ref()
            .is_ok_and(|rules| !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown"))
    };
    let rules = until("rules are evaluated", look, is_evaluated).expect("evaluated");
    let mut asked = Vec::new();
    for rule in &rules {
        let (name, query) =
            (rule["name"].as_str().expect("a name"), rule["query"].as_str().expect("a query"));
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{name}");
        if rule["type"] == "recording" {
            asked.push((format!("recording {name}"), query.to_owned()));
        }
        asked.extend(selectors(query).into_iter().map(|selector| (format!("rule {name}"), selector)));
    }
    asked
}

#[test]
fn a_real_prometheus_has_data_for_every_rule_and_panel_and_tells_what_there_is_to_tell() {
    let home = Home::new();
    let (_sandbox, agent) = busy(&home);
    let prometheus = Prometheus::watch(agent.admin());
    assert_eq!(agent.metric("revenium_agent_disk_reserve_bytes"), 536_870_912.0, "the default, 512 MiB");
    let mut asked = asked_by_rules(&prometheus);
    for (panel, expression) in panels() {
        asked.extend(selectors(&expression).into_iter().map(|selector| (panel.clone(), selector)));
        asked.push((panel, expression));
    }
    // A rate needs two scrapes.
    until("data for every expression", || unanswered(&prometheus, &asked), Vec::is_empty);
    let made_up = ("made up".to_owned(), "revenium_agent_events_taken_total".to_owned());
    assert_eq!(unanswered(&prometheus, &[made_up]).len(), 1, "a name that is not exported is found out");

    let targets = prometheus.ask("/api/v1/targets").expect("targets");
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    let alerts = || -> BTreeSet<String> {
        let alerts = prometheus.ask("/api/v1/alerts").expect("alerts");
        let names =
            alerts["alerts"].as_array().into_iter().flatten().map(|alert| &alert["labels"]["alertname"]);
        // Where the tests run, a flush may not reach a device.
        names
            .filter_map(Value::as_str)
            .filter(|name| *name != "ReveniumAgentWeakGuarantee")
            .map(str::to_owned)
            .collect()
    };
    let expected = ["ReveniumAgentDeadLetters", "ReveniumAgentSpoolQuarantine"].map(str::to_owned);
    until("its alerts, and no other", alerts, |alerts| *alerts == expected.clone().into());
    agent.stop();
}

#[test]
fn metrics_pass_promtool() {
    let agent = Home::new().start();
    let (status, metrics) = agent.get("/metrics");
    assert_eq!(status, 200);
    let (is_content, said) = promtool(&["check", "metrics"], &metrics);
    assert!(is_content && said.trim().is_empty(), "{said}");
    agent.stop();
}

#[test]
fn promtool_accepts_the_configuration_and_the_rules_and_every_test_of_an_alert_passes() {
    let path = |name: &str| ops("prometheus").join(name).display().to_string();
    for args in [
        &["check", "config", &path("scrape.yml")][..],
        &["check", "rules", &path("recording.yml"), &path("alerts.yml")],
        &["test", "rules", &path("tests.yml"), &path("tests_of_days.yml")],
    ] {
        let (is_content, said) = promtool(args, "");
        assert!(is_content, "promtool {args:?}: {said}");
    }
}

#[test]
fn every_alert_is_tested_silent_and_told_and_has_a_section_of_the_runbook() {
    let (alerts, runbook) = (read("prometheus/alerts.yml"), read("runbook.md"));
    let tests = read("prometheus/tests.yml") + &read("prometheus/tests_of_days.yml");
    let names = values(&alerts, "alert");
    assert!(names.len() >= 20, "the alerts were not found");
    let links: Vec<String> =
        names.iter().map(|name| format!("ops/runbook.md#{}", name.to_lowercase())).collect();
    assert_eq!(values(&alerts, "runbook"), links, "the runbook's anchors");
    let sections: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let mut found = Vec::new();
    for name in &names {
        let asserted = tests.split("- alertname: ").skip(1).filter(|rest| rest.lines().next() == Some(name));
        let (silent, told): (Vec<_>, Vec<_>) = asserted
            .partition(|rest| rest.lines().nth(2).is_some_and(|line| line.ends_with("exp_alerts: []")));
        if silent.is_empty() || told.is_empty() {
            found.push(format!("{name}: tested silent {} times, told {} times", silent.len(), told.len()));
        }
        match sections.iter().find(|section| section.lines().next() == Some(name)) {
            None => found.push(format!("{name}: no section in ops/runbook.md")),
            Some(section) => {
                let lacks = ["**Meaning.**", "**Check.**", "**Act.**"]
                    .into_iter()
                    .filter(|part| !section.contains(part));
                found.extend(lacks.map(|part| format!("{name}: its section has no {part}")));
            }
        }
    }
    let strays = sections.iter().filter_map(|section| section.lines().next());
    let strays =
        strays.filter(|title| title.starts_with("Revenium") && !names.iter().any(|name| name == title));
    found.extend(strays.map(|title| format!("{title}: a section without an alert")));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_runbooks_commands_exist() {
    let home = Home::new();
    let runbook = read("runbook.md");
    let quoted = runbook.split('`').skip(1).step_by(2);
    let commands: BTreeSet<&str> = quoted.filter_map(|text| text.strip_prefix("revenium-agent ")).collect();
    assert!(commands.len() >= 10, "the commands were not found: {commands:?}");
    for command in commands {
        // --help is answered where everything before it was understood.
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let output = home.command(&args).output().expect("runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let exported = Metrics::new(&["default".to_owned()], &["account".to_owned()], "0").render(None, 0);
    let families = exported.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let shown: BTreeSet<String> = panels().iter().flat_map(|(_, expression)| selectors(expression)).collect();
    let is_shown = |family: &&str| {
        let mut names = shown.iter().map(|selector| selector.split('{').next().unwrap_or_default());
        names.any(|name| ["", "_bucket", "_count", "_sum"].iter().any(|end| name == format!("{family}{end}")))
    };
    let missing: Vec<&str> = families.filter(|family| !is_shown(family)).collect();
    assert!(missing.is_empty(), "not on ops/grafana/agent.json: {missing:?}");
}

#[test]
fn grafanas_sdk_knows_all_of_the_dashboard() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/tools/grafana/bin/python");
    assert!(python.is_file(), "Grafana's SDK is not in target/tools/grafana: tests/run.sh installs it");
    let mut command = Command::new(python);
    let output =
        command.arg(root.join("tests/operator/dashboard.py")).arg(ops("grafana/agent.json")).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
