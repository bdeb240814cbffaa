// Says when the server is gone, so that nobody trusts a page that stands still.
(function () {
  "use strict";
  function show(lost) {
    var line = document.getElementById("lost");
    if (line && line.hidden === lost) { line.hidden = !lost; }
  }
  document.addEventListener("htmx:sendError", function () { show(true); });
  document.addEventListener("htmx:responseError", function () { show(true); });
  document.addEventListener("htmx:timeout", function () { show(true); });
  document.addEventListener("htmx:afterRequest", function (event) {
    if (event.detail.successful) { show(false); }
  });
  document.addEventListener("htmx:afterSwap", function () {
    var verdict = document.getElementById("verdict");
    var said = document.getElementById("said");
    if (!verdict || !said) { return; }
    if (said.textContent !== verdict.textContent) { said.textContent = verdict.textContent; }
    document.title = verdict.textContent + " · " + document.title.split(" · ").pop();
  });
}());
