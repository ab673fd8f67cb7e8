//! The frame of a page, and what its parts are made of.

use std::fmt::{self, Write};

/// Text in HTML, escaped: a registry can choose any name.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for character in text.chars() {
                    match character {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        // Not valid in HTML, even escaped.
                        control if control.is_control() => self.0.write_char('\u{fffd}')?,
                        other => self.0.write_char(other)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;padding:0 1rem;color:#1c2733;background:#fff}\
h1{font-size:1.35rem;margin:0 0 .6rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\
a{color:#0b5cad}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.28rem .7rem .28rem 0;vertical-align:top;border-bottom:1px solid #e1e6ec}\
th{font-weight:600;color:#52606d;white-space:nowrap}.n{text-align:right;white-space:nowrap}\
.in{color:#1a7f37}.out{color:#b42318;font-weight:600}.warn{color:#8f5b00;font-weight:600}.dim{color:#52606d}\
svg{display:block;width:100%;height:44px;background:#f4f7fa}polyline{fill:none;stroke:#0b5cad;stroke-width:1.2;vector-effect:non-scaling-stroke}\
.bad polyline{stroke:#b42318}.charts{display:flex;gap:1rem;flex-wrap:wrap}.charts div{flex:1 1 16rem}\
form{margin:.6rem 0}input,select,button{font:inherit}nav,footer{margin:.4rem 0}\
@media(prefers-color-scheme:dark){body{color:#dde4eb;background:#12181f}th,td{border-color:#2a3440}\
th,.dim{color:#9aa7b4}a{color:#6cb2ff}svg{background:#1a222b}polyline{stroke:#6cb2ff}\
.in{color:#4cc38a}.out{color:#ff8577}.bad polyline{stroke:#ff8577}.warn{color:#e5b567}}";

/// Where links on a page lead, and how often it is loaded again.
pub(crate) struct Frame<'a> {
    /// What the addresses of other pages are relative to: it ends with a slash.
    pub(crate) base: &'a str,
    /// The address of the overview.
    pub(crate) home: &'a str,
    pub(crate) refresh: u32,
}

impl Frame<'_> {
    /// Returns a page with this title and content, which is HTML.
    pub(crate) fn page(&self, title: &str, content: &str) -> String {
        let refresh = match self.refresh {
            0 => String::new(),
            seconds => format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"),
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n{refresh}\
             <base href=\"{}\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{content}</body>\n</html>\n",
            Escaped(self.base),
            Escaped(title)
        )
    }

    /// Returns a page that says why there is none.
    pub(crate) fn problem(&self, title: &str, message: &str) -> String {
        let content = format!(
            "<h1>{}</h1>\n<p>{}</p>\n<p><a href=\"{}\">All services</a></p>\n",
            Escaped(title),
            Escaped(message),
            Escaped(self.home)
        );
        self.page(title, &content)
    }
}

/// Draws values over the last minute, the newest on the right.
pub(crate) fn sparkline(label: &str, values: &[f64], largest: &str, is_bad: bool) -> String {
    let top = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let first = crate::figures::SAMPLES - values.len().min(crate::figures::SAMPLES);
    let mut points = String::new();
    for (x, value) in (first..).zip(values) {
        let _ = write!(points, "{x},{:.1} ", 38.0 - value / top * 36.0);
    }
    let class = if is_bad { " class=\"bad\"" } else { "" };
    format!(
        "<div{class}><b>{0}</b>, at most {1}\n<svg viewBox=\"0 0 59 40\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{0} in the last minute\"><polyline points=\"{2}\"/></svg></div>\n",
        Escaped(label),
        Escaped(largest),
        points.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_have_no_effect() {
        let text = Escaped("<b onload='x'>&\"\u{1b}\n").to_string();
        assert_eq!(text, "&lt;b onload=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_line_stays_in_its_frame_for_any_values() {
        for values in [&[][..], &[0.0; 60], &[1.0, 1e12, 0.0]] {
            let line = sparkline("calls", values, "1", false);
            assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
        }
    }
}
