/**
 * Keeps an open page up to date: fetches it again, and replaces only the parts that differ. What is open stays open, and
 * the focus stays where it is. Without scripts, the reader reloads the page.
 */
export const SCRIPT = `
(() => {
  const EVERY = 3000;
  const parts = (root) => [...root.querySelectorAll('[data-part]')];
  const keyOf = (element) => element.getAttribute('data-part');
  const status = () => document.getElementById('live');
  // Compared as it was sent: what the reader opened is no change.
  const sent = new Map(parts(document).map((part) => [keyOf(part), part.outerHTML]));

  function replace(old, fresh) {
    const open = [...old.querySelectorAll('details[open][id]')].map(({ id }) => id);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : '';
    const scrolled = [...old.querySelectorAll('.scroll')].map(({ scrollLeft }) => scrollLeft);
    old.replaceWith(fresh);
    for (const id of open) document.getElementById(id)?.setAttribute('open', '');
    [...fresh.querySelectorAll('.scroll')].forEach((element, i) => (element.scrollLeft = scrolled[i] ?? 0));
    if (focused !== '') document.getElementById(focused)?.focus({ preventScroll: true });
  }

  function update(page) {
    const fresh = parts(page);
    const old = parts(document);
    if (fresh.map(keyOf).join() !== old.map(keyOf).join()) {
      replace(document.querySelector('main'), document.adoptNode(page.querySelector('main')));
      sent.clear();
      for (const part of parts(document)) sent.set(keyOf(part), part.outerHTML);
      return;
    }
    fresh.forEach((part, i) => {
      const html = part.outerHTML;
      if (html === sent.get(keyOf(part))) return;
      if (old[i].contains(document.activeElement) && /^(INPUT|BUTTON)$/.test(document.activeElement.tagName) && document.activeElement.id === '') return;
      sent.set(keyOf(part), html);
      replace(old[i], document.adoptNode(part));
    });
  }

  async function refresh() {
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { accept: 'text/html' }, cache: 'no-store' });
        if (!answer.ok) throw new Error(String(answer.status));
        update(new DOMParser().parseFromString(await answer.text(), 'text/html'));
        status().hidden = true;
      } catch {
        status().hidden = false;
      }
    }
    setTimeout(refresh, EVERY);
  }
  setTimeout(refresh, EVERY);
})();
`.trim();
