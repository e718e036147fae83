// The page looks at itself: what it finds is on the root element, for tests.
(function () {
  function look() {
    var root = document.documentElement;
    var texts = [].filter.call(document.querySelectorAll(".chart text"), function (t) { return t.getClientRects().length; });
    var outside = 0, meet = 0;
    var boxes = texts.map(function (t) {
      var b = t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect();
      if (b.left < s.left - 4 || b.right > s.right + 4 || b.top < s.top - 4 || b.bottom > s.bottom + 4) outside++;
      return b;
    });
    for (var i = 0; i < boxes.length; i++) for (var j = 0; j < i; j++) {
      var a = boxes[i], b = boxes[j];
      if (texts[i].ownerSVGElement === texts[j].ownerSVGElement && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3) meet++;
    }
    root.dataset.width = window.innerWidth;
    root.dataset.overflow = root.scrollWidth - root.clientWidth;
    root.dataset.outside = outside;
    root.dataset.collisions = meet;
  }
  window.addEventListener("load", look);
  window.addEventListener("resize", look);
})();
