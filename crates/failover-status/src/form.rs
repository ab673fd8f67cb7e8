//! The form with which an operator changes something.

use std::fmt::Write;

use crate::html::Escaped;
use crate::operations::LONGEST;

/// Writes the form of a service's page. The choices of the endpoint are in the table.
pub(crate) fn write(out: &mut String, service: &str, query: Option<&str>) {
    let query = query.map_or(String::new(), |query| {
        format!("<input type=\"hidden\" name=\"query\" value=\"{}\">\n", Escaped(query))
    });
    let _ = write!(
        out,
        "<h2>Operations</h2>\n<form id=\"operate\" method=\"post\" action=\"service/{}/operate\">\n{query}\
         <p>The endpoint chosen above: <label>action <select name=\"action\">\n\
         <option value=\"out\">force out</option>\n<option value=\"in\">force in</option>\n\
         <option value=\"observe\">only observe</option>\n<option value=\"end\">end what was forced</option>\n\
         <option value=\"drain\">drain, in the registry</option>\n\
         <option value=\"in_service\">return to service, in the registry</option>\n</select></label>\n\
         <label>for <input name=\"minutes\" type=\"number\" min=\"1\" max=\"{LONGEST}\" value=\"10\"> minutes</label>\n\
         <label>token <input name=\"token\" type=\"password\" required autocomplete=\"current-password\"></label>\n\
         <button>Apply</button></p>\n\
         <p class=\"dim\">What is forced concerns this process alone, and ends by itself. Draining concerns every process \
         that reads the registry, and stays.</p>\n</form>\n",
        Escaped(service)
    );
}
