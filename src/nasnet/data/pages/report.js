"use strict";
(() => {
  const { folder, rows } = JSON.parse(document.getElementById("labels").textContent);
  const save = document.getElementById("save-labels");
  const fields = [...document.querySelectorAll("[data-id]")];
  const first = new Map(fields.map((field) => [field, field.value.trim()]));
  const isChanged = (field) => field.value.trim() !== first.get(field);
  const changed = () => fields.filter(isChanged);

  function tell() {
    const count = changed().length;
    save.disabled = !count;
    save.textContent = `Save corrected labels (${count})`;
    for (const field of fields) field.classList.toggle("changed", isChanged(field));
  }

  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  // All pictures where their files are known, for the next run; else what was changed alone. A
  // picture whose label was emptied is left out.
  function table() {
    if (!rows.length) {
      const row = (field) => [field.dataset.id, field.value.trim(), first.get(field)];
      return [["id", "label", "was"], ...changed().map(row)];
    }
    const now = new Map(changed().map((field) => [field.dataset.id, field.value.trim()]));
    const kept = rows.map(([id, label, split], n) => [id, now.get(String(n)) ?? label, split]);
    return [
      ["path", "label", "split"],
      ...kept.filter((row) => row[1]).map(([id, ...rest]) => [`${folder}/${id}`, ...rest]),
    ];
  }

  save.addEventListener("click", () => {
    const text = table().map((row) => `${row.map(cell).join(",")}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(text, { type: "text/csv" }));
    link.download = "corrected.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  for (const button of document.querySelectorAll(".agree"))
    button.addEventListener("click", () => {
      const field = button.parentElement.querySelector("[data-id]");
      field.value = field.value === button.value ? first.get(field) : button.value;
      tell();
    });
  for (const field of fields)
    for (const kind of ["input", "change"]) field.addEventListener(kind, tell);
  for (const part of document.querySelectorAll(".mark, .marks")) part.hidden = false;
  tell();
})();
