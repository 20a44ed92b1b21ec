(function () {
  'use strict';
  var root = document.documentElement, tip = document.getElementById('tip');

  /* Light, dark, or as the system says. Storage may be forbidden for files. */
  function stored(value) {
    try { if (value === undefined) return localStorage.getItem('theme'); localStorage.setItem('theme', value); } catch (e) { return null; }
  }
  var theme = stored();
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  document.getElementById('theme').addEventListener('click', function () {
    var dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    stored(root.dataset.theme);
  });

  /* What a point or a bar stands for: under the pointer, on a tap, with the keyboard. */
  function show(element, x, y) {
    tip.textContent = element.dataset.tip;
    tip.style.display = 'block';
    var w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(6, Math.min(innerWidth - w - 6, x + 12)) + 'px';
    tip.style.top = (y + h + 18 > innerHeight ? y - h - 10 : y + 14) + 'px';
  }
  function over(event) {
    var element = event.target.closest && event.target.closest('[data-tip]');
    if (element && element.dataset.tip) show(element, event.clientX, event.clientY);
    else tip.style.display = 'none';
  }
  document.addEventListener('pointermove', over);
  document.addEventListener('pointerdown', over);
  document.addEventListener('focusin', function (event) {
    var element = event.target.closest('[data-tip]');
    if (!element || !element.dataset.tip) return;
    var box = element.getBoundingClientRect();
    show(element, box.left + box.width / 2, box.top + box.height / 2);
  });
  document.addEventListener('scroll', function () { tip.style.display = 'none'; }, true);

  /* A click on a table's head sorts by that column. Numbers are in data-v. */
  document.querySelectorAll('table.sortable th').forEach(function (th) {
    th.addEventListener('click', function () {
      var body = th.closest('table').tBodies[0], column = th.cellIndex, down = th.dataset.down !== '1';
      th.dataset.down = down ? '1' : '0';
      function key(row) { var cell = row.cells[column]; return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent; }
      Array.from(body.rows).sort(function (a, b) {
        var x = key(a), y = key(b);
        var order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
        return down ? -order : order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });

  document.querySelectorAll('button[data-save]').forEach(function (button) {
    button.addEventListener('click', function () {
      var link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([document.getElementById(button.dataset.save).textContent], { type: 'application/json' }));
      link.download = button.dataset.save + '.json';
      link.click();
      URL.revokeObjectURL(link.href);
    });
  });
})();
