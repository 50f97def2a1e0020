//! Who served a call, by where it went.
//!
//! | the call went to | `provider` |
//! |---|---|
//! | `…amazonaws.com`, `…api.aws` | `AWS` |
//! | `…googleapis.com` | `Google Vertex` |
//! | `…azure.com`, `…azure.us` | `Foundry`, which bills at Anthropic's rates: `Azure` would add a surcharge of its region |
//! | any other host, if a Claude answered | `ANTHROPIC`: a proxy before it changes no price |
//! | any other host with a name, if another model did | the host: a vendor that speaks Anthropic's format is not Anthropic |
//! | an address, or nothing is known | `ANTHROPIC` |

/// Who served a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    /// `provider` on the wire.
    pub(crate) name: String,
    /// Whether the model is taken for one of Anthropic's.
    pub(crate) is_anthropics: bool,
}

/// Suffixes of hosts.
const CLOUDS: [(&str, &str); 7] = [
    ("amazonaws.com", "AWS"),
    ("amazonaws.com.cn", "AWS"),
    ("api.aws", "AWS"),
    ("googleapis.com", "Google Vertex"),
    ("azure.com", "Foundry"),
    ("azure.us", "Foundry"),
    ("anthropic.com", "ANTHROPIC"),
];

/// Who served a call that went to `endpoint`, where `model` answered or was asked for.
pub(crate) fn of(endpoint: Option<&str>, model: Option<&str>) -> Provider {
    let host = endpoint.map(host).unwrap_or_default();
    let is_within =
        |suffix: &str| host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let cloud = CLOUDS.into_iter().find(|(suffix, _)| is_within(suffix)).map(|(_, name)| name);
    let is_claude = model.is_none_or(|model| model.to_ascii_lowercase().contains("claude"));
    let is_vendor = cloud.is_none() && !is_claude && is_a_name(&host);
    let name = if is_vendor { host } else { cloud.unwrap_or("ANTHROPIC").to_owned() };
    Provider { name, is_anthropics: !is_vendor }
}

/// The host of a URL, or of a host with or without its port, in lower case.
fn host(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a host is a domain's name, and not an address or a machine's nickname.
fn is_a_name(host: &str) -> bool {
    let top = host.rsplit_once('.').map_or("", |(_, top)| top);
    top.bytes().any(|byte| byte.is_ascii_alphabetic()) && host.len() <= 253
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_provider_is_where_the_call_went() {
        let claude = Some("claude-sonnet-4-20250514");
        let table = [
            (None, claude, "ANTHROPIC"),
            (None, None, "ANTHROPIC"),
            (Some("https://api.anthropic.com"), claude, "ANTHROPIC"),
            (Some("https://api.anthropic.com/v1"), Some("tomorrows-model"), "ANTHROPIC"),
            (Some("https://bedrock-runtime.us-east-1.amazonaws.com"), claude, "AWS"),
            (Some("bedrock-runtime.cn-north-1.amazonaws.com.cn:443"), claude, "AWS"),
            (Some("https://aws-external-anthropic.us-east-1.api.aws"), claude, "AWS"),
            (Some("https://us-east5-aiplatform.googleapis.com/v1"), claude, "Google Vertex"),
            (Some("HTTPS://User:pw@EXAMPLE.services.ai.azure.com/anthropic/"), claude, "Foundry"),
            (Some("https://notamazonaws.com"), claude, "ANTHROPIC"),
            (Some("https://llm.corp.example"), claude, "ANTHROPIC"),
            (Some("https://api.minimax.io/anthropic"), Some("MiniMax-M2"), "api.minimax.io"),
            (Some("http://127.0.0.1:8080"), Some("fake"), "ANTHROPIC"),
            (Some("http://[::1]:8080"), Some("fake"), "ANTHROPIC"),
            (Some("http://localhost:8080"), Some("fake"), "ANTHROPIC"),
            (Some(""), Some("fake"), "ANTHROPIC"),
        ];
        for (endpoint, model, name) in table {
            assert_eq!(of(endpoint, model).name, name, "{endpoint:?} {model:?}");
        }
        assert!(!of(Some("api.deepseek.com"), Some("deepseek-chat")).is_anthropics);
        assert!(of(None, Some("fake")).is_anthropics);
    }
}
