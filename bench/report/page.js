// Tables are sorted by a click on a heading, within each group of rows, and filtered by words. Nothing needs it.
document.querySelectorAll("table").forEach(function (table) {
  var bodies = Array.from(table.tBodies);
  Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
    head.classList.add("sortable");
    head.tabIndex = 0;
    function sort() {
      var up = head.getAttribute("aria-sort") === "descending";
      Array.from(head.parentNode.cells).forEach(function (each) { each.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var isNumber = head.classList.contains("n");
      bodies.forEach(function (body) {
        var rows = Array.from(body.rows).filter(function (row) { return !row.classList.contains("group"); });
        rows.map(function (row) {
          var cell = row.cells[column];
          return [isNumber ? (cell.dataset.sort === undefined ? NaN : +cell.dataset.sort) : cell.textContent, row];
        }).sort(function (a, b) {
          if (isNumber && (isNaN(a[0]) || isNaN(b[0]))) return isNaN(a[0]) - isNaN(b[0]);
          return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (up ? 1 : -1);
        }).forEach(function (pair) { body.appendChild(pair[1]); });
      });
    }
    head.addEventListener("click", sort);
    head.addEventListener("keydown", function (event) { if (event.key === "Enter") sort(); });
  });
  if (table.rows.length < 14) return;
  var input = document.createElement("input");
  input.className = "filter";
  input.type = "search";
  input.placeholder = "show rows with these words";
  input.setAttribute("aria-label", input.placeholder);
  table.parentNode.before(input);
  input.addEventListener("input", function () {
    var wanted = input.value.toLowerCase().split(/\s+/);
    bodies.forEach(function (body) {
      var group = body.querySelector("tr.group"), above = group ? group.textContent.toLowerCase() : "", any = false;
      Array.from(body.rows).forEach(function (row) {
        if (row === group) return;
        var text = above + " " + row.textContent.toLowerCase();
        row.hidden = !wanted.every(function (word) { return text.includes(word); });
        any = any || !row.hidden;
      });
      body.hidden = !any;
    });
  });
});
