"use strict";

const $ = (id) => document.getElementById(id);
const JSON_TYPE = "application/json";
// A field on servers that ask for a key; the key lasts as long as this tab, and no longer.
const key = $("key");
if (key) key.value = sessionStorage.getItem("key") ?? "";
const viewer = makeViewer($("stage"));
if (!viewer) $("stage").innerHTML = "<p>This browser cannot show 3D (WebGL 2). The meshes are below.</p>";

let job = null;  // the photos that are being worked on, or were last
let shown = null;  // the job on the page, its result and the face or photo that is picked
let urls = [];  // of the result on the page

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function say(text) {
  $("status").textContent = text;
}

// Numbers and names as people read them.
const counted = (count, one, many = `${one}s`) => (
  `${["No", "One", "Two", "Three", "Four", "Five", "Six"][count] ?? count} ${count === 1 ? one : many}`);
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
function size(bytes) {
  const [unit, divisor] = bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  return `${(bytes / divisor).toFixed(bytes < 1e4 || bytes >= 1e6 && bytes < 1e7 ? 1 : 0)} ${unit}`;
}

// ---- Talking to the server

class Problem extends Error {}

const keyHeader = () => (key ? {"X-API-Key": key.value.trim()} : {});

// Sends photos and resolves with the answer.  `tell` hears of what is known on the way:
// {sent} 0..1, {stages} by which the server counts its work, {received} 0..1.
function send({path, part, photos, query}, accept, signal, tell = () => {}) {
  const body = new FormData();
  photos.forEach((photo) => body.append(part, photo, photo.name));
  const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-");
  const request = new XMLHttpRequest();
  let polling = 0;
  async function poll() {
    const answer = await fetch(`v1/progress/${id}`, {headers: keyHeader()}).catch(() => null);
    const stages = answer?.ok ? await answer.json() : {};
    if (stages.decode) tell({stages});
    if (polling) polling = setTimeout(poll, 250);
  }
  const done = new Promise((resolve, reject) => {
    request.open("POST", `${path}?${query}`);
    request.responseType = "blob";
    request.setRequestHeader("Accept", accept);
    request.setRequestHeader("X-Request-ID", id);
    for (const [name, value] of Object.entries(keyHeader())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({loaded, total}) => tell({sent: total ? loaded / total : 1});
    request.upload.onload = () => {
      tell({sent: 1});
      polling = setTimeout(poll, 100);
    };
    request.onreadystatechange = () => {
      if (request.readyState >= 2 && polling) polling = clearTimeout(polling) ?? 0;
    };
    request.onprogress = ({loaded, total}) => total && tell({received: loaded / total});
    request.onerror = () => reject(new Problem(
      "No answer came. The server may be down, or the photos too large for it."));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = async () => {
      if (key && request.status !== 401) sessionStorage.setItem("key", key.value);
      if (request.status === 200) {
        resolve({blob: request.response, timing: request.getResponseHeader("Server-Timing")});
        return;
      }
      const problem = await request.response.text().then(JSON.parse).catch(() => ({}));
      const reference = request.status >= 500 ? ` (request ${problem.request_id})` : "";
      reject(new Problem(problem.detail ? `${problem.title}: ${problem.detail}${reference}`
        : `The server answered with status ${request.status}.`));
    };
    signal.addEventListener("abort", () => request.abort(), {once: true});
    request.send(body);
  });
  return done.finally(() => { polling = clearTimeout(polling) ?? 0; });
}

// ---- A job: photos in, a result on the page

const STEPS = ["Upload", "Find faces", "Reconstruct", "Texture"];

function optionsOf(album) {
  const query = new URLSearchParams();
  for (const fieldset of document.querySelectorAll("#options fieldset")) {
    const fits = fieldset.dataset.for === "any" || fieldset.dataset.for === (album ? "album" : "photo");
    fieldset.hidden = fieldset.disabled = !fits;
    const {name, value, defaultChecked} = fieldset.querySelector(":checked");
    // The server's own defaults are left out; the page's are not all the same.
    const parameter = name.split(":")[0];  // two groups of buttons must not share a name
    if (fits && (!defaultChecked || name === "mesh")) query.set(parameter, value);
  }
  return query;
}

async function start(photos, samples = false) {
  if (!photos.length) return;
  if (key && !key.value.trim()) {
    key.focus();
    fail(new Problem("This server asks for an API key. Put it into the field above first."), photos);
    return;
  }
  job?.stop.abort();
  const album = photos.length > 1;
  const mine = {
    album, photos, samples, query: optionsOf(album), stop: new AbortController(),
    path: album ? "v1/albums/reconstruct" : "v1/reconstruct", part: album ? "images" : "image",
  };
  job = mine;
  announce(mine);
  const query = new URLSearchParams(mine.query);
  query.set("include", "mesh,overlay");
  try {
    const answer = await send({...mine, query}, JSON_TYPE, mine.stop.signal, (progress) => {
      if (job === mine) advance(mine, progress);
    });
    const result = JSON.parse(await answer.blob.text());
    if (job !== mine) return;
    await show(mine, result, answer.timing);
  } catch (error) {
    if (job !== mine) return;
    if (error.name === "AbortError") finish("Cancelled.");
    else fail(error, photos);
  }
}

function previews(photos) {
  const most = photos.length > 9 ? 8 : photos.length;
  $("previews").querySelectorAll("img").forEach(({src}) => URL.revokeObjectURL(src));
  $("previews").replaceChildren(...photos.slice(0, most).map((photo) => {
    const image = make("img", {src: URL.createObjectURL(photo), alt: photo.name});
    const item = make("li", {}, image);
    // What the browser cannot show, such as HEIC, the server may well read.
    image.onerror = () => image.replaceWith(photo.name);
    return item;
  }));
  if (most < photos.length) $("previews").append(make("li", {}, `+ ${photos.length - most}`));
}

function lay(state) {
  document.body.dataset.state = state;
  const working = state === "working", failed = state === "failed";
  $("job").hidden = !working && !failed;
  $("job").classList.toggle("failed", failed);
  $("steps").hidden = $("cancel").hidden = !working;
  $("why").hidden = $("dismiss").hidden = !failed;
  $("again").hidden = !failed || !job;
  if (!document.activeElement?.checkVisibility() || document.activeElement === document.body) {
    (working || failed ? $("doing") : $("found")).focus();
  }
}

function announce(mine) {
  const names = mine.photos.length === 1 ? mine.photos[0].name : `${mine.photos.length} photos of one person`;
  $("doing").textContent = `Working on ${names}`;
  previews(mine.photos);
  const last = mine.query.get("texture") === "albedo" ? "Mesh" : "Texture";
  $("steps").replaceChildren(...[...STEPS.slice(0, 3), last].map((name) => (
    make("li", {}, make("span", {className: "meter"}, make("span")), name, make("small")))));
  mine.step = -1;
  lay("working");
  step(mine, 0, "", 0);
}

// `share` null: nobody knows how much of the step is done.
function step(mine, number, detail = "", share = null) {
  if (number < mine.step) return;
  const items = [...$("steps").children];
  items.forEach((item, index) => {
    item.className = index < number ? "done" : index === number && share === null ? "busy" : "";
    item.toggleAttribute("aria-current", index === number);
    item.querySelector("small").textContent = index === number ? detail : "";
    item.querySelector(".meter > *").style.width = index === number && share !== null ? percent(share) : "";
  });
  if (number !== mine.step) say(`${items[number].childNodes[1].textContent}…`);
  mine.step = number;
}

function advance(mine, {sent, stages, received}) {
  const all = mine.photos.length;
  if (received !== undefined) step(mine, 3, `receiving, ${percent(received)}`);
  else if (sent !== undefined && sent < 1) step(mine, 0, percent(sent), sent);
  else if (sent === 1) step(mine, 1, "waiting");
  else if (stages.texture || stages.mesh || stages.overlay) {
    step(mine, 3, mine.album && stages.overlay ? `drawing ${Math.min(stages.overlay, all)} of ${all}` : "");
  } else if (mine.album && stages.decode < all) step(mine, 1, `photo ${stages.decode} of ${all}`, stages.decode / all);
  else step(mine, stages.regress ? 2 : 1);
}

function fail(error, photos) {
  if (!(error instanceof Problem)) console.error(error);
  const [title, ...rest] = error instanceof Problem ? error.message.split(": ") : ["The result cannot be shown", error.message];
  $("doing").textContent = rest.length ? title : "That did not work";
  $("why").textContent = rest.length ? rest.join(": ") : title;
  previews(photos);
  if (shown) optionsOf(shown.album);
  lay("failed");
  say(`${$("doing").textContent}. ${$("why").textContent}`);
}

// Back to what was there before: a result, or the empty page.
function finish(text) {
  if (shown) optionsOf(shown.album);
  lay(shown ? "result" : "empty");
  say(text);
}

// ---- The result

function decode({data, media_type: type}) {
  return new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], {type});
}

function keep(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls.at(-1);
}

async function show(mine, result, timing) {
  const split = mine.album ? [result.identity.mesh, ...result.photos.map((photo) => photo.overlay)]
    : [result.overlay, ...result.faces.map((face) => face.mesh)];
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  if (shown?.photos !== mine.photos) {  // while a mesh is being read, nobody else's is in its place
    viewer?.clear();
    $("drive").hidden = true;
  }
  shown = {...mine, result, picked: 0, timing, curl: curl(mine)};
  shown.sources = mine.photos.map(keep);
  shown.files = split.map((file) => file && decode(file));
  const bare = (name, value) => (["mesh", "overlay"].includes(name) ? undefined : value);
  shown.json = new Blob([JSON.stringify(result, bare)], {type: JSON_TYPE});
  $("result").hidden = false;
  $("sheet").hidden = !mine.album;
  $("curl").textContent = shown.curl;
  lay("result");
  if (mine.album) await showAlbum();
  else await showPhoto();
  say([$("found").textContent, $("remarks").textContent].join(". "));
}

async function showPhoto() {
  const {result, files} = shown;
  $("found").textContent = counted(result.faces.length, "face");
  $("remarks").textContent = result.faces.length > 1 ? "Pick one in the picture." : "";
  await comparePicture(shown.sources[0], files[0], shown.photos[0].name);
  const several = result.faces.length > 1;
  $("boxes").replaceChildren(...(several ? result.faces : []).map((face, index) => {
    const box = make("button", {type: "button", ariaLabel: `Face ${index + 1}`, onclick: () => pickFace(index)});
    const {x0, y0, x1, y1} = face.box, {width, height} = result.photo;
    Object.assign(box.style, {left: percentage(x0, width), top: percentage(y0, height),
      width: percentage(x1 - x0, width), height: percentage(y1 - y0, height)});
    return box;
  }));
  $("faces").hidden = !several;
  $("faces").replaceChildren(...(several ? result.faces : []).map((face, index) => make("li", {},
    make("button", {type: "button", onclick: () => pickFace(index)}, thumbnail(face.box), `Face ${index + 1}`))));
  await pickFace(0);
}

const percentage = (part, whole) => `${100 * part / whole}%`;

// The face, from the photo where the browser can show it.
function thumbnail({x0, y0, x1, y1}) {
  const image = $("photo").naturalWidth ? $("photo") : $("overlay");
  const canvas = make("canvas", {width: 128, height: 128, ariaHidden: true});
  const scale = image.naturalWidth / shown.result.photo.width;
  const side = 1.2 * scale * Math.max(x1 - x0, y1 - y0);
  const left = scale * (x0 + x1) / 2 - side / 2, top = scale * (y0 + y1) / 2 - side / 2;
  canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, 128, 128);
  return canvas;
}

async function pickFace(index) {
  const {result, files} = shown, face = result.faces[index];
  shown.picked = index;
  for (const list of [$("boxes").children, [...$("faces").children].map((item) => item.firstChild)]) {
    [...list].forEach((button, at) => { button.ariaPressed = at === index; });
  }
  const {pitch, yaw, roll} = face.pose.angles;
  facts([
    ["Head", `${way(yaw, "left", "right")}, ${way(pitch, "down", "up")}, ${way(roll, "tilted left", "tilted right")}`],
    ...confidence(face.confidence, "this photo tells"),
    ["Mesh", `${face.mesh.vertices.toLocaleString("en")} points, ${face.mesh.triangles.toLocaleString("en")} triangles`],
  ]);
  offer(files[1 + index], result.faces.length > 1 ? `${result.mesh}${index}` : result.mesh);
  await stage(files[1 + index]);
}

// ---- The 3D view, and what moves in it

// Sliders of the heads' morph targets: what they are called here, and which they move.
const MOVES = {
  "Jaw open": ["jawOpen"],
  Smile: ["mouthSmileLeft", "mouthSmileRight"],
  "Eyes closed": ["eyeBlinkLeft", "eyeBlinkRight"],
  "Inner brows up": ["browInnerUp"],
  "Lips puckered": ["mouthPucker"],
  "Says “oh”": ["viseme_O"],
};

let photographed = {};  // the weights of the mesh in the view, as they came

async function stage(file) {
  await viewer?.load(file);
  photographed = viewer?.weights() ?? {};
  const sliders = Object.entries(MOVES).filter(([, [name]]) => name in photographed);
  $("drive").hidden = !sliders.length;
  $("sliders").replaceChildren(...sliders.map(([label, names]) => {
    const input = make("input", {type: "range", min: 0, max: 100, oninput: () => {
      viewer.pose(Object.fromEntries(names.map((name) => [name, input.value / 100])));
      input.ariaValueText = `${input.value}%`;
    }});
    input.dataset.moves = names.join(" ");
    return make("label", {}, make("span", {}, label), input);
  }));
  showWeights();
}

function showWeights() {
  const weights = viewer.weights();
  for (const input of $("sliders").querySelectorAll("input")) {
    const names = input.dataset.moves.split(" ");
    input.value = 100 * names.reduce((sum, name) => sum + weights[name], 0) / names.length;
    input.ariaValueText = `${input.value}%`;
  }
}

function drive(weights, said) {
  viewer.pose(weights);
  showWeights();
  say(said);
}

// As somebody would say it who looks at the picture; below 3° a head is straight.
function way(degrees, positive, negative) {
  const whole = Math.round(degrees);
  if (Math.abs(whole) < 3) return {left: "facing ahead", down: "level", "tilted left": "upright"}[positive];
  return `${Math.abs(whole)}° ${whole > 0 ? positive : negative}`;
}

function confidence({mean, min, max}, subject) {
  const meter = make("span", {className: "meter"}, make("span"));
  meter.firstChild.style.width = percent(mean);
  return [["Confidence", [`${mean.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)}, of 1)`, meter,
    make("span", {className: "quiet", textContent: `How much ${subject} about the face’s shape.`})]]];
}

function facts(rows) {
  const spent = [...(shown.timing ?? "").matchAll(/(\w+);dur=([\d.]+)/g)];
  const of = (...names) => spent.reduce((sum, [, name, ms]) => sum + (names.includes(name) ? Number(ms) : 0), 0);
  const seconds = (ms) => (ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
  rows = [...rows, ["Time", `find ${seconds(of("decode", "detect"))}, reconstruct ${
    seconds(of("regress", "recognize", "reconstruct"))}, ${of("texture") ? "texture and " : ""}mesh ${
    seconds(of("segment", "texture", "mesh", "overlay", "encode"))}`]];
  $("facts").replaceChildren(...rows.flatMap(([name, value]) => (
    [make("dt", {}, name), make("dd", {}, ...[value].flat())])));
}

// The photo and the same photo with the mesh drawn on it, or the one of them that can be shown.
async function comparePicture(photo, overlay, name) {
  $("photo").src = photo;
  $("photo").alt = `${name}, as it was sent`;
  $("overlay").hidden = !overlay;
  if (overlay) {
    $("overlay").src = keep(overlay);
    $("overlay").alt = `${name} with the mesh drawn on it`;
    await $("overlay").decode();
  } else {
    $("overlay").removeAttribute("src");
  }
  const readable = await $("photo").decode().then(() => true, () => false);
  $("photo").hidden = !readable;
  document.querySelector(".slider").hidden = document.querySelector("#picture i").hidden = !readable || !overlay;
  $("compare").hidden = !readable && !overlay;
  const {naturalWidth: width, naturalHeight: height} = overlay ? $("overlay") : $("photo");
  $("picture").style.setProperty("--ratio", width / height || 1);
  $("caption").textContent = readable ? name : `${name} (your browser cannot show the photo itself)`;
  place();
}

// Where the pictures stand in their frame, for the line and the boxes over them.
function place() {
  const image = $("overlay").hidden ? $("photo") : $("overlay");
  const {offsetLeft: left, offsetTop: top, offsetWidth: width, offsetHeight: height} = image;
  Object.assign($("boxes").style, {left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px`});
  const split = $("photo").hidden ? 0 : Number($("split").value);
  $("picture").style.setProperty("--split", `${split}%`);
  $("picture").style.setProperty("--line-at", `${left + width * split / 100}px`);
  $("split").ariaValueText = `${split}% photo`;
}

// ---- Albums

async function showAlbum() {
  const {result, files, photos} = shown;
  const used = result.identity.photos_used;
  const failed = result.photos.filter((photo) => photo.status === "failed").length;
  const strangers = result.photos.filter((photo) => photo.likeness?.stranger).length;
  $("found").textContent = `One face of ${used} of ${photos.length} photos`;
  $("remarks").textContent = [
    strangers && `${counted(strangers, "photo seems", "photos seem")} to show somebody else.`,
    failed && `${counted(failed, "photo")} could not be used.`,
  ].filter(Boolean).join(" ");
  const most = Math.max(...result.photos.map((photo) => photo.share ?? 0));
  $("photos").replaceChildren(...result.photos.map((photo, index) => card(photo, index, most)));
  $("judged").textContent = result.judged_by === "shape"
    ? "Somebody else is told by the shape of the face, which misses many."
    : "Somebody else is told by a recognition network.";
  $("boxes").replaceChildren();
  $("faces").hidden = true;
  offer(files[0], "identity");
  await pickPhoto(Math.max(0, result.photos.findIndex((photo) => photo.share === most)));
  await stage(files[0]);
}

function card(photo, index, most) {
  const stranger = photo.likeness?.stranger;
  const name = shown.photos[index].name;
  const image = make("img", {src: shown.sources[index], alt: "", loading: "lazy"});
  image.onerror = () => image.replaceWith("no preview");
  const text = make("span", {className: "text"}, make("b", {}, name));
  if (photo.share !== undefined) {
    const meter = make("span", {className: "meter"}, make("span"));
    meter.firstChild.style.width = percent(photo.share / most);
    text.append(`${percent(photo.share, 1)} of the face`, meter);
  }
  if (stranger) text.append(make("span", {className: "tag stranger"}, "Seems somebody else"));
  if (photo.status === "left_out") text.append(make("span", {className: "tag"}, "Left out"));
  if (photo.problem) {
    text.append(make("span", {className: "tag failed"}, "Not used"), `${photo.problem.title}: ${photo.problem.detail}`);
  }
  const face = make("span", {className: "thumb"}, image);
  const kind = `card ${stranger ? "stranger" : photo.status}`;
  const box = photo.problem ? make("div", {className: kind}, face, text)
    : make("button", {type: "button", className: kind, onclick: () => pickPhoto(index)}, face, text);
  return make("li", {}, box);
}

async function pickPhoto(index) {
  const {result, files, photos, sources} = shown, photo = result.photos[index];
  shown.picked = index;
  [...$("photos").children].forEach((item, at) => {
    if (item.firstChild.matches("button")) item.firstChild.ariaPressed = at === index;
  });
  const {similarity, distance} = photo.likeness ?? {};
  const limit = result.stranger_similarity ?? result.stranger_distance;
  facts([
    ["Photo", photos[index].name],
    ...(photo.share === undefined ? [] : [["Counts", `${percent(photo.share, 1)} of the face`]]),
    ...(photo.face ? confidence(photo.face.confidence, "this photo tells") : []),
    ...(photo.likeness ? [["Likeness", similarity === undefined
      ? `distance ${distance.toFixed(2)}; somebody else above ${limit.toFixed(2)}`
      : `similarity ${similarity.toFixed(2)}; somebody else below ${limit.toFixed(2)}`]] : []),
  ]);
  await comparePicture(sources[index], files[1 + index], photos[index].name);
}

// ---- Downloads, and the call for a terminal

const MEANINGS = {glb: "3D, for viewers and engines, meters", obj: "3D, for modelers, millimeters",
  ply: "3D, for research, millimeters", stl: "3D, for printing, millimeters"};

function offer(mesh, stem) {
  const {album, result, json, files} = shown;
  const [own, ...others] = $("result").closest("main").dataset.formats.split(" ");
  const rows = [ready(`${stem}.${own}`, MEANINGS[own], mesh)];
  for (const format of others) {
    rows.push(onDemand(`${stem}.${format}`, MEANINGS[format] ?? "3D", async (signal) => {
      const query = new URLSearchParams(shown.query);
      query.set("include", "mesh");
      query.set("mesh_format", format);
      const answer = JSON.parse(await (await send({...shown, query}, JSON_TYPE, signal)).blob.text());
      return decode(album ? answer.identity.mesh : answer.faces[shown.picked].mesh);
    }));
  }
  if (!album) rows.push(ready("overlay.jpg", "The photo with the mesh on it", files[0]));
  rows.push(ready("result.json", "All numbers", json));
  const archive = album ? "album.zip" : "faces.zip";
  const count = album ? result.photos.length : result.faces.length;
  rows.push(onDemand(archive, count > 1 ? "Everything, of all of them" : "Everything",
    async (signal) => (await send(shown, "application/zip", signal)).blob));
  if (shown.samples) shown.photos.forEach((photo) => rows.push(ready(photo.name, "The rendered photo", photo)));
  $("files").replaceChildren(...rows);
}

function ready(name, meaning, blob) {
  return make("li", {}, make("a", {href: keep(blob), download: name}, make("b", {}, name),
    make("span", {}, meaning), make("small", {}, size(blob.size))));
}

// A file that the server makes when it is asked for; until then nobody knows its size.
function onDemand(name, meaning, fetchFile) {
  const state = make("small", {}, "made when asked for");
  const button = make("button", {type: "button"}, make("b", {}, name), make("span", {}, meaning), state);
  const item = make("li", {}, button);
  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    const origin = shown;
    button.ariaDisabled = true;
    state.textContent = "being made…";
    say(`${name} is being made.`);
    try {
      const file = ready(name, meaning, await fetchFile(origin.stop.signal));
      if (shown !== origin) return;
      const focused = document.activeElement === button;
      item.replaceWith(file);
      if (focused) file.firstChild.focus();
      file.firstChild.click();
      say(`${name} is ready.`);
    } catch (error) {
      button.ariaDisabled = false;
      state.textContent = "failed; try again";
      say(error.message);
      if (error.name !== "AbortError") $("remarks").textContent = error.message;
    }
  });
  return item;
}

// Quoted for a POSIX shell, and before that for curl's own -F where the name asks for it.
function curl({path, part, photos, query}) {
  const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const file = (name) => (/[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);
  const url = new URL(path, location.href);
  url.search = new URLSearchParams([...query, ["include", "mesh,overlay"]]).toString().replaceAll("%2C", ",");
  return [
    "curl", ...(key ? [`-H "X-API-Key: $KEY"`] : []),
    ...photos.map(({name}) => `-F ${shell(`${part}=@${file(name)}`)}`),
    shell(url.href), "-o result.json",
  ].join(" ");
}

// ---- What people do

// A face model of one's own may have no head.
if ($("result").closest("main").dataset.heads === "no") {
  document.querySelector("[name=mesh][value=head]").closest("fieldset").remove();
}

function take(input) {
  const files = [...input.files];
  input.value = "";  // so that the same photo can be chosen again
  start(files);
}
for (const id of ["image", "camera"]) $(id).addEventListener("change", () => take($(id)));

// The samples travel in the page; a photo from elsewhere would need another request.
$("samples").addEventListener("click", (event) => {
  const images = event.target.closest("button")?.querySelectorAll("img") ?? [];
  start([...images].map(({src, dataset}) => {
    const [, type, data] = src.match(/^data:(.+);base64,(.+)$/);
    return new File([decode({data, media_type: type})], dataset.name, {type});
  }), true);
});

$("options").addEventListener("change", () => start(shown.photos, shown.samples));
$("options").addEventListener("submit", (event) => event.preventDefault());
$("cancel").addEventListener("click", () => job.stop.abort());
$("dismiss").addEventListener("click", () => finish(""));
$("again").addEventListener("click", () => start(job.photos, job.samples));

$("neutral").addEventListener("click", () => drive(
  Object.fromEntries(Object.keys(photographed).map((name) => [name, 0])), "Neutral."));
$("as-photo").addEventListener("click", () => drive(photographed, "As in the photo."));

$("split").addEventListener("input", place);
addEventListener("resize", place);
// A drag anywhere in the picture moves the line; a click on a face picks it.
$("picture").addEventListener("pointermove", (event) => {
  if (!event.buttons || $("photo").hidden || $("overlay").hidden) return;
  const {left, width} = $("overlay").getBoundingClientRect();
  $("split").value = 100 * (event.clientX - left) / width;
  place();
});

$("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren($("curl"));
  const copied = await navigator.clipboard?.writeText($("curl").textContent).then(() => true, () => false);
  say(copied ? "Copied." : "Selected; copy it with your keyboard.");
  $("copy").textContent = copied ? "Copied" : "Selected";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});

// A link sends no key.
if (key) $("models").addEventListener("click", async (event) => {
  event.preventDefault();
  const answer = await fetch("v1/models", {headers: keyHeader()});
  if (answer.ok) location.assign(URL.createObjectURL(await answer.blob()));
  else say("Models: the key is missing or wrong.");
});

// The whole page takes drops: beside the frame, the browser would leave the page for the photo.
for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", type === "dragover");
    if (type === "drop") start([...event.dataTransfer.files]);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) start([...event.clipboardData.files]);
});
