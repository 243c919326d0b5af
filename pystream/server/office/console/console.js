// What a page of the console does better with a script. Without one, all of it works; what only a script can do is hidden.

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = button.parentElement.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(source.value);
    } catch {
      // Not over plain HTTP, and not without leave: the old way.
      source.select();
      document.execCommand("copy");
    }
    said.textContent = button.dataset.done;
  });
}

// On a phone the menu is wider than the screen: the page that one is on is in sight.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

for (const box of document.querySelectorAll("input[data-all]")) {
  const each = () => box.form.querySelectorAll("input[data-one]");
  box.hidden = false;
  box.addEventListener("change", () => each().forEach((one) => (one.checked = box.checked)));
}

// Who clicks twice means it once.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-once]")) delete form.dataset.sent;
});
