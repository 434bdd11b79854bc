"use strict";

const byId = (name) => document.getElementById(name);
const SVG = "http://www.w3.org/2000/svg";
let file = null;
let found = null;
let newest = 0; // an answer that is older than the last question is dropped

function say(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

function clear() {
  found = null;
  draw();
}

function setAll(element, attributes) {
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
}

function makeMask({ x, y, width, height, picture }) {
  const mask = document.createElementNS(SVG, "image");
  setAll(mask, { x, y, width, height, href: picture, preserveAspectRatio: "none" });
  byId("masks").append(mask);
  return mask;
}

function makeBox(object) {
  const [x0, y0, x1, y1] = object.box;
  const size = Math.max(found.width, found.height) / 50;
  const box = document.createElementNS(SVG, "rect");
  setAll(box, { x: x0, y: y0, width: x1 - x0, height: y1 - y0, stroke: object.color });
  const label = document.createElementNS(SVG, "text");
  setAll(label, { x: x0 + size / 4, y: Math.max(y0, 0) + size, "font-size": size });
  label.textContent = `${object.label} ${Math.round(100 * object.score)}%`;
  byId("boxes").append(box, label);
  return box;
}

function makeRow(object, shapes) {
  const row = byId("objects").insertRow();
  const values = [object.label, object.score.toFixed(2), object.box.map(Math.round).join(", ")];
  values.forEach((value) => { row.insertCell().textContent = value; });
  row.cells[0].style.setProperty("--class-color", object.color);
  const mark = (strong) => shapes.forEach((shape) => shape.classList.toggle("strong", strong));
  row.addEventListener("mouseenter", () => mark(true));
  row.addEventListener("mouseleave", () => mark(false));
}

function draw() {
  const threshold = Number(byId("threshold").value);
  byId("threshold-value").textContent = threshold.toFixed(2);
  byId("boxes").replaceChildren();
  byId("masks").replaceChildren();
  byId("objects").replaceChildren();
  byId("count").textContent = "";
  if (!found) return;
  byId("overlay").setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  const shown = found.objects.filter((object) => object.score >= threshold);
  const masks = new Map(); // small ones lie above large ones
  const masked = shown.filter((object) => object.mask);
  masked.sort((one, other) => other.mask.width * other.mask.height - one.mask.width * one.mask.height);
  masked.forEach((object) => masks.set(object, makeMask(object.mask)));
  shown.forEach((object) => makeRow(object, [makeBox(object), masks.get(object)].filter(Boolean)));
  byId("count").textContent = `${shown.length} of ${found.objects.length} detections`;
}

function show() {
  const image = byId("image");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.hidden = false;
}

async function detect() {
  if (!file) return;
  const question = ++newest;
  clear();
  show();
  const name = byId("model").selectedOptions[0].textContent;
  const start = Date.now();
  const clock = setInterval(() => {
    say(`${name} looks at ${file.name} ... ${Math.round((Date.now() - start) / 1000)} s`);
  }, 1000);
  say(`${name} looks at ${file.name} ...`);
  const form = new FormData();
  form.append("image", file);
  form.append("model", byId("model").value);
  try {
    const response = await fetch("/detect", { method: "POST", body: form });
    const answer = await response.json();
    if (question !== newest) return;
    if (!response.ok) throw new Error(answer.error);
    found = answer;
    say(`${file.name}: ${found.width} x ${found.height} pixels, ${found.seconds.toFixed(2)} s`);
  } catch (error) {
    if (question === newest) say(error.message, true);
  } finally {
    clearInterval(clock);
    if (question === newest) draw();
  }
}

function take(files) {
  if (!files.length) return;
  [file] = files;
  detect();
}

async function start() {
  const settings = await (await fetch("/settings")).json();
  settings.models.forEach((name, number) => byId("model").add(new Option(name, number)));
  byId("threshold").value = settings.threshold;
  draw();
  byId("threshold").addEventListener("input", draw);
  byId("model").addEventListener("change", detect);
  byId("file").addEventListener("change", (event) => take(event.target.files));
  byId("image").addEventListener("error", () => {
    byId("image").hidden = true;
    if (found) say("the model has seen this image, but the browser cannot show it", true);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer.files);
  });
}

start().catch((error) => say(`the page could not be set up: ${error.message}`, true));
