// The keys, and the list of them. What has the focus keeps the keys that are its own.

const LIST = [
  [["key_space", "K"], "key_play"],
  [["J", "L"], "key_skip"],
  [["←", "→"], "key_step"],
  [["↑", "↓"], "key_volume"],
  [["M"], "key_mute"],
  [["F"], "key_fullscreen"],
  [["C"], "key_captions"],
  [["0 – 9"], "key_tenth"],
  [["<", ">"], "key_speed"],
  [["?"], "key_help"],
];

/** `actions`: what each key does, by the key. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (own(event.target, key)) return;
    const action = /^[0-9]$/.test(key) ? () => actions.tenth(Number(key)) : actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Whether an element needs the key itself. */
function own(element, key) {
  // Who types means no key of the player.
  if (element.matches("input:not([type=radio], [type=checkbox], [type=range]), textarea, select")) return true;
  if (element.matches("button, a")) return key === " " || key === "Enter";
  if (element.matches("input[type=radio], input[type=checkbox]")) return key === " " || key.startsWith("Arrow");
  return element.id === "volume" && key.startsWith("Arrow");
}

/** Fills the list of keys, of those that do something. */
export function fill(list, say, hasSubtitles) {
  list.replaceChildren();
  for (const [keys, meaning] of LIST) {
    if (meaning === "key_captions" && !hasSubtitles) continue;
    const term = document.createElement("dt");
    for (const key of keys) {
      const cap = document.createElement("kbd");
      cap.textContent = key.startsWith("key_") ? say(key) : key;
      term.append(cap);
    }
    const what = document.createElement("dd");
    what.textContent = say(meaning);
    list.append(term, what);
  }
}
