(function () {
  "use strict";
  var forms = document.querySelectorAll("[data-filter]");
  var rows = Array.prototype.slice.call(document.querySelectorAll("[data-words]"));
  var entries = rows.filter(function (row) { return row.classList.contains("entry"); });

  function apply(form) {
    var wanted = form.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    var failing = form.querySelector("input[type=checkbox]").checked;
    var shown = 0;
    rows.forEach(function (row) {
      var words = row.getAttribute("data-words");
      var match = wanted.every(function (word) { return words.indexOf(word) >= 0; }) &&
        (!failing || row.hasAttribute("data-failing"));
      row.hidden = !match;
      if (match && entries.indexOf(row) >= 0) { shown += 1; }
    });
    form.querySelector("output").textContent = form.getAttribute("data-count")
      .replace("{shown}", shown).replace("{all}", entries.length);
  }

  forms.forEach(function (form) {
    form.hidden = false;
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("input", function () { apply(form); });
    form.querySelector("[data-unfold]").addEventListener("click", function () {
      var open = entries.some(function (row) { return !row.hidden && !row.open; });
      entries.forEach(function (row) { if (!row.hidden) { row.open = open; } });
    });
    apply(form);
  });

  function reveal() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.prototype.filter.call(document.querySelectorAll("details"), function (d) { return !d.open; });
    folded.forEach(function (d) { d.open = true; });
  });
  window.addEventListener("afterprint", function () { folded.forEach(function (d) { d.open = false; }); });
}());
