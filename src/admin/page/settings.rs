//! The configuration in effect. No key holds a secret, only paths to files that do.

use std::fmt::Write as _;

use super::super::Setting;
use crate::html::escaped;

pub(super) fn section(page: &mut String, settings: Option<&[Setting]>) {
    page.push_str("<section aria-labelledby=\"settings-h\">\n<h2 id=\"settings-h\">Configuration in effect</h2>\n");
    match settings {
        None => page.push_str(
            "<p class=\"note\">It is shown to somebody on this machine only; in Kubernetes use <code>kubectl \
             port-forward</code>.</p>\n",
        ),
        Some(settings) => {
            let (set, default): (Vec<&Setting>, Vec<&Setting>) =
                settings.iter().partition(|setting| setting.set_by.is_some());
            table(page, "What was set", &set, true);
            table(page, "What was left as it is", &default, false);
        }
    }
    page.push_str("</section>\n");
}

fn table(page: &mut String, caption: &str, settings: &[&Setting], is_open: bool) {
    if settings.is_empty() {
        let _ = writeln!(page, "<p class=\"note\">{caption}: nothing.</p>");
        return;
    }
    let open = if is_open { " open" } else { "" };
    let _ = write!(
        page,
        "<details{open}>\n<summary>{caption}: {} keys</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{caption}\">\n<table>\n<caption>{caption}</caption>\n<thead><tr><th scope=\"col\">key</th><th scope=\"col\" \
         class=\"text\">value</th><th scope=\"col\" class=\"text\">what it does</th><th scope=\"col\" class=\"text\">set \
         by</th></tr></thead>\n<tbody>\n",
        settings.len()
    );
    for Setting { key, value, meaning, set_by } in settings {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\"><code>{}</code></th><td class=\"text\"><code>{}</code></td><td class=\"text\">{}</td><td \
             class=\"text\">{}</td></tr>",
            escaped(key),
            escaped(value),
            escaped(meaning),
            escaped(set_by.as_deref().unwrap_or("default"))
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n</details>\n");
}
