//! The status page: one screen of HTML, without scripts, everything escaped.

use std::fmt::Write;

use super::Status;
use crate::commands::status::{age, bytes, pace_words, spool_words};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;\
    border-bottom:1px solid #8884;vertical-align:top}.ok{color:#177245}.degraded{color:#b06000}.failing{color:#c62828}";

/// Renders `status`; the browser asks again every ten seconds.
pub(super) fn render(status: &Status) -> String {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=10>\
         <title>revenium-agent</title><style>{STYLE}</style>\
         <h1>revenium-agent <span class={health}>{health}</span></h1>",
        health = status.health.name()
    );
    if !status.reasons.is_empty() {
        html.push_str("<ul>");
        status.reasons.iter().for_each(|reason| push(&mut html, &["<li>", "</li>"], &[reason]));
        html.push_str("</ul>");
    }
    html.push_str("<table><tr><th>profile<th>upstream<th>key<th>waiting<th>oldest<th>dead<th>delivered");
    for profile in &status.profiles {
        let cells = [
            profile.name.clone(),
            profile.url.clone().unwrap_or_else(|| "not configured".to_owned()),
            profile.key.clone().unwrap_or_else(|| "none".to_owned()),
            profile.waiting.to_string(),
            profile.oldest_age_s.map_or_else(String::new, age),
            profile.dead.to_string(),
            profile.delivered.to_string(),
        ];
        html.push_str("<tr>");
        cells.iter().for_each(|cell| push(&mut html, &["<td>", ""], &[cell]));
    }
    html.push_str("</table><table>");
    for (name, value) in [
        ("durability", status.guarantee.text.clone()),
        ("log", format!("{} of {}", bytes(status.log_bytes), bytes(status.log_capacity_bytes))),
        ("disk free", bytes(status.disk_free_bytes)),
        ("data directory", status.data_dir.clone()),
        ("up", age(status.uptime_s)),
        ("version", status.version.clone()),
        ("instance", status.instance.clone()),
    ] {
        push(&mut html, &["<tr><th>", "<td>", ""], &[name, &value]);
    }
    if let Some(spool) = spool_words(&status.spool) {
        push(&mut html, &["<tr><th>", "<td>", ""], &["spool", &spool]);
    }
    for pace in &status.pace {
        let value = pace_words(pace);
        push(&mut html, &["<tr><th>pace of ", "<td>", ""], &[&pace.account, &value]);
    }
    html.push_str("</table><p><a href=/metrics>metrics</a> <a href=/healthz>health</a> <a href=/readyz>ready</a></html>\n");
    html
}

/// Markup and text in turn; only text is escaped.
fn push(html: &mut String, markup: &[&str], texts: &[&str]) {
    for (index, part) in markup.iter().enumerate() {
        html.push_str(part);
        let text = texts.get(index).copied().unwrap_or_default();
        for c in text.chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                c if c.is_control() => {
                    let _ = write!(html, "&#{};", u32::from('\u{fffd}'));
                }
                c => html.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::tests::healthy;
    use crate::admin::{Health, Pace, ProfileStatus};

    #[test]
    fn nothing_that_came_from_outside_is_markup() {
        let evil = "<script>alert('x')</script>&\"\u{1b}".to_owned();
        let mut status = healthy();
        status.health = Health::Degraded;
        status.reasons = vec![evil.clone()];
        status.profiles = vec![ProfileStatus {
            name: evil.clone(),
            url: Some(evil.clone()),
            key: Some(evil.clone()),
            ..ProfileStatus::default()
        }];
        status.pace = vec![Pace {
            account: evil.clone(),
            requests_per_second: None,
            in_flight: 0,
            note: Some(evil.clone()),
        }];
        status.data_dir = evil.clone();
        let html = super::render(&status);
        assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;&#65533;";
        assert_eq!(html.matches(escaped).count(), 7, "{html}");
    }
}
