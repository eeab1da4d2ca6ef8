// How the search ranks what it finds: pages first, the reference's names of functions after them.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => (page === "book/api" ? Math.min(score, 1) : score),
};

// Under a page that is found stands what it says there, from the texts of `excerpts.js`: a page that
// was opened from a folder may not read another. The link leads to the section.
(function () {
  const [before, long] = [60, 220];

  function excerpt(item, words) {
    const link = item.querySelector("a");
    const page = new URL(link.href).pathname.split("/").slice(-2).join("/").replace(".html", "");
    const sections = Excerpts[page];
    if (!sections || item.querySelector("span, p")) return;
    const found = (text) => words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0);
    const named = sections.find(([anchor]) => "#" + anchor === link.hash);
    const [anchor, text] = named || sections.find(([, text]) => found(text).length) || sections[0];
    if (!link.hash) link.hash = anchor;
    const [at = 0] = found(text);
    const start = at > before ? text.indexOf(" ", at - before) + 1 : 0;
    const end = start + long < text.length ? text.lastIndexOf(" ", start + long) : text.length;
    const word = found(text).length ? text.slice(at).match(/^[\p{L}\p{N}]*/u)[0] : "";
    const said = document.createElement("p");
    said.className = "context";
    const mark = document.createElement("mark");
    mark.textContent = word;
    said.append(start ? "… " : "", text.slice(start, at), word ? mark : "");
    said.append(text.slice(at + word.length, end), end < text.length ? " …" : "");
    item.append(said);
  }

  const asked = new URLSearchParams(location.search).get("q") || "";
  new MutationObserver((changes) => {
    const words = splitQuery(asked.toLowerCase()).map((word) => new Stemmer().stemWord(word));
    for (const { addedNodes } of changes)
      addedNodes.forEach((node) => node.parentNode?.matches("#search-results ul") && excerpt(node, words));
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
