"use strict";

// A GLB file (glTF 2.0) as what WebGL can draw: every primitive of the scene with its attributes,
// its place and its material.  Positions stand at the file's weights of the morph targets, which
// `morphs` holds; skins stand in their pose of rest.  Throws an Error that names what it cannot read.
async function readGlb(blob) {
  const bytes = await blob.arrayBuffer();
  const head = new DataView(bytes);
  if (bytes.byteLength < 20 || head.getUint32(0, true) !== 0x46546c67) {
    throw new Error("This is no GLB file.");
  }
  const length = head.getUint32(12, true);
  const file = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 20, length)));
  const known = ["KHR_materials_unlit", "KHR_mesh_quantization"];
  const strange = (file.extensionsRequired ?? []).filter((name) => !known.includes(name));
  if (strange.length) throw new Error(`The mesh needs ${strange.join(", ")}.`);
  const kinds = {5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array,
    5125: Uint32Array, 5126: Float32Array};
  const widths = {SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16};

  function part(index, offset = 0, size = null) {
    const {byteOffset = 0, byteLength} = file.bufferViews[index];
    return [28 + length + byteOffset + offset, size ?? byteLength - offset];
  }

  // The numbers of an accessor in a row, whatever lies between them in the file.
  function read(number) {
    const {bufferView, byteOffset = 0, componentType, count, type, sparse} = file.accessors[number];
    const Kind = kinds[componentType], width = widths[type];
    let values = new Kind(count * width);
    if (bufferView !== undefined) {
      const [start] = part(bufferView, byteOffset);
      const step = file.bufferViews[bufferView].byteStride ?? width * Kind.BYTES_PER_ELEMENT;
      if (step === width * Kind.BYTES_PER_ELEMENT) {
        values = new Kind(bytes, start, count * width);
      } else {
        for (let item = 0; item < count; item++) {
          values.set(new Kind(bytes, start + item * step, width), item * width);
        }
      }
    }
    if (!sparse) return values;
    values = values.slice();
    const {indices, values: changed} = sparse;
    const [from] = part(indices.bufferView, indices.byteOffset);
    const places = new kinds[indices.componentType](bytes, from, sparse.count);
    const [to] = part(changed.bufferView, changed.byteOffset);
    const replacements = new Kind(bytes, to, sparse.count * width);
    places.forEach((place, item) => {
      for (let k = 0; k < width; k++) values[place * width + k] = replacements[item * width + k];
    });
    return values;
  }

  function floats(number) {
    const {componentType, normalized} = file.accessors[number];
    const most = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535}[componentType];
    const scale = normalized ? 1 / most : 1;
    return Float32Array.from(read(number), (value) => value * scale);
  }

  function attribute(number) {
    const {componentType, type, normalized = false} = file.accessors[number];
    return {values: read(number), width: widths[type], componentType, normalized};
  }

  // What a target moves, and by how much: most targets leave most of a mesh alone.
  function moves(number) {
    const all = floats(number);
    const places = Uint32Array.from(all.keys()).filter((place) => all[place] !== 0);
    return {places, changes: Float32Array.from(places, (place) => all[place])};
  }

  function morphed(number, targets, weights, names) {
    const rest = floats(number);
    const morphs = targets.map((target, index) => ({name: names[index] ?? `${index}`,
      weight: weights[index] ?? 0, ...moves(target.POSITION)}));
    return {values: applied(rest, morphs), width: 3, componentType: 5126, normalized: false,
      rest, morphs};
  }

  async function image(number) {
    const {bufferView, mimeType} = file.images[file.textures[number].source];
    const [start, size] = part(bufferView);
    return createImageBitmap(new Blob([new Uint8Array(bytes, start, size)], {type: mimeType}));
  }

  async function drawable({attributes, indices, material: about, mode = 4, targets = []}, place,
    weights = [], names = []) {
    if (mode !== 4) throw new Error("The mesh is not made of triangles.");
    const material = file.materials?.[about] ?? {};
    const surface = material.pbrMetallicRoughness ?? {};
    const texture = surface.baseColorTexture;
    const take = (name) => (name in attributes ? attribute(attributes[name]) : null);
    const moving = targets.filter((target) => target.POSITION !== undefined);
    if (moving.length !== targets.length) throw new Error("A morph target moves no positions.");
    return {
      place,
      position: moving.length ? morphed(attributes.POSITION, targets, weights, names)
        : take("POSITION"),
      normal: take("NORMAL"),
      paint: take("COLOR_0"),
      spot: texture ? take(`TEXCOORD_${texture.texCoord ?? 0}`) : null,
      image: texture ? await image(texture.index) : null,
      list: indices === undefined ? null : read(indices),
      factor: surface.baseColorFactor ?? [1, 1, 1, 1],
      lit: !material.extensions?.KHR_materials_unlit,
      blend: material.alphaMode === "BLEND",
      cutoff: material.alphaMode === "MASK" ? material.alphaCutoff ?? 0.5 : 0,
    };
  }

  const product = (a, b) => Array.from({length: 16}, (_, at) => [0, 1, 2, 3]
    .reduce((sum, k) => sum + a[(at & 3) + 4 * k] * b[k + 4 * (at >> 2)], 0));
  function matrix({matrix: whole, translation: t = [0, 0, 0], rotation: q = [0, 0, 0, 1],
    scale: s = [1, 1, 1]}) {
    if (whole) return whole;
    const [x, y, z, w] = q;
    return [
      (1 - 2 * (y * y + z * z)) * s[0], 2 * (x * y + z * w) * s[0], 2 * (x * z - y * w) * s[0], 0,
      2 * (x * y - z * w) * s[1], (1 - 2 * (x * x + z * z)) * s[1], 2 * (y * z + x * w) * s[1], 0,
      2 * (x * z + y * w) * s[2], 2 * (y * z - x * w) * s[2], (1 - 2 * (x * x + y * y)) * s[2], 0,
      ...t, 1];
  }
  const one = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const found = [], places = new Map();
  function settle(number, outer) {
    const node = file.nodes[number];
    places.set(number, product(outer, matrix(node)));
    for (const child of node.children ?? []) settle(child, places.get(number));
  }
  // At rest every joint places a skinned mesh alike: as the first does.
  function skinned({joints, inverseBindMatrices: inverse}) {
    const bind = inverse === undefined ? one : [...floats(inverse).slice(0, 16)];
    return product(places.get(joints[0]) ?? one, bind);
  }
  async function walk(number) {
    const node = file.nodes[number];
    if (node.mesh !== undefined) {
      const mesh = file.meshes[node.mesh];
      const weights = node.weights ?? mesh.weights;
      for (const primitive of mesh.primitives) {
        // A skin alone places its mesh (glTF 2.0, section 3.7.3.3).
        const place = node.skin === undefined ? places.get(number) : skinned(file.skins[node.skin]);
        found.push(await drawable(primitive, place, weights, mesh.extras?.targetNames));
      }
    }
    for (const child of node.children ?? []) await walk(child);
  }
  const {nodes: roots} = file.scenes[file.scene ?? 0];
  for (const root of roots) settle(root, one);
  for (const root of roots) await walk(root);
  if (!found.length) throw new Error("There is no mesh in the file.");
  return found;
}

// Positions at rest, moved by their morph targets.
function applied(rest, morphs) {
  const values = rest.slice();
  for (const {weight, places, changes} of morphs) {
    if (weight) places.forEach((place, index) => { values[place] += weight * changes[index]; });
  }
  return values;
}

// A stage for GLB files inside `holder`: a canvas, and buttons for those who cannot drag.  The
// face sways until it is touched.  Returns {load(blob), clear(), weights(), pose(weights)}, or null
// where WebGL 2 is missing: `weights` of the morph targets are objects of numbers by the targets'
// names, and `pose` leaves alone what is not in its own.
function makeViewer(holder) {
  const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
  holder.classList.add("viewer");
  holder.innerHTML = `
    <canvas tabindex="0" role="img" aria-label="The face in 3D. Arrow keys turn it, plus and minus
      zoom, 0 shows it from the front."></canvas>
    <div class="tools">
      <div class="choice" role="group" aria-label="Surface">
        <button type="button" data-do="skin" aria-pressed="true">Skin</button>
        <button type="button" data-do="clay" aria-pressed="false">Clay</button>
      </div>
      <div class="icons" role="group" aria-label="View">
        <button type="button" data-do="sway" aria-pressed="true" aria-label="Turn slowly"
          title="Turn slowly">${icon("M20 12a8 8 0 1 1-2.6-5.9M20 3v4.5h-4.5")}</button>
        <button type="button" data-do="out" aria-label="Farther" title="Farther"
          >${icon("M5 12h14")}</button>
        <button type="button" data-do="in" aria-label="Nearer" title="Nearer"
          >${icon("M5 12h14M12 5v14")}</button>
        <button type="button" data-do="front" aria-label="From the front" title="From the front"
          >${icon("M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5M12 9v6M9 12h6")}</button>
      </div>
    </div>`;
  const canvas = holder.querySelector("canvas");
  const button = (name) => holder.querySelector(`[data-do=${name}]`);
  const gl = canvas.getContext("webgl2", {antialias: true});
  if (!gl) return null;

  const VERTEX = `#version 300 es
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec3 normal;
    layout(location = 2) in vec4 paint;
    layout(location = 3) in vec2 spot;
    uniform mat4 place; uniform mat3 turn; uniform vec3 center; uniform vec3 lens;
    out vec4 color; out vec2 where; out vec3 facing; out vec3 eye;
    void main() {
      vec3 p = turn * ((place * vec4(position, 1.0)).xyz - center);
      float depth = lens.z - p.z;
      gl_Position = vec4(p.xy * lens.xy, (depth - lens.z) * 0.5, depth);
      color = paint; where = spot;
      facing = turn * mat3(place) * normal;
      eye = vec3(-p.xy, depth);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec4 color; in vec2 where; in vec3 facing; in vec3 eye;
    uniform sampler2D image; uniform bool textured; uniform vec4 factor; uniform bool lit;
    uniform bool clay; uniform bool hollow; uniform float cutoff;
    out vec4 shown;
    // Camera space: a key from the viewer's upper left, a weak fill from the right, the sky.
    const vec3 KEY = normalize(vec3(-0.5, 0.6, 0.62)), FILL = normalize(vec3(0.9, 0.05, 0.45));
    void main() {
      vec4 own = factor * color * (textured ? texture(image, where) : vec4(1.0));
      if (own.a < cutoff) discard;
      vec3 linear = clay ? vec3(0.50, 0.45, 0.41) : own.rgb;
      if (lit || clay) {
        vec3 n = normalize(facing), e = normalize(eye);
        float key = max(dot(n, KEY), 0.0), fill = max(dot(n, FILL), 0.0);
        float gloss = pow(max(dot(n, normalize(KEY + e)), 0.0), 28.0);
        linear *= 0.38 + 0.10 * n.y + 1.0 * key + 0.28 * fill;
        linear += 0.045 * gloss + 0.05 * pow(1.0 - max(dot(n, e), 0.0), 4.0);
      }
      // The inside of the mask is no skin.
      if (hollow && !gl_FrontFacing) linear = vec3(0.028, 0.025, 0.024);
      vec3 low = linear * 12.92, high = 1.055 * pow(max(linear, 0.0), vec3(1.0 / 2.4)) - 0.055;
      float alpha = cutoff > 0.0 ? 1.0 : own.a;
      shown = vec4(mix(high, low, lessThan(linear, vec3(0.0031308))) * alpha, alpha);
    }`;
  let program, at, parts = [], shownBlob = null, order = 0, whole = false;
  let center = [0, 0, 0], radius = 1, yaw = 0, pitch = 0, zoom = 1;
  let swaying = !matchMedia("(prefers-reduced-motion: reduce)").matches, began = 0, frame = 0;

  function setUp() {
    program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    at = (name) => gl.getUniformLocation(program, name);
    parts = [];
  }

  function upload(drawn) {
    const held = {...drawn, array: gl.createVertexArray(), buffers: [], picture: null};
    const buffer = (target, values) => {
      held.buffers.push(gl.createBuffer());
      gl.bindBuffer(target, held.buffers.at(-1));
      gl.bufferData(target, values, gl.STATIC_DRAW);
    };
    gl.bindVertexArray(held.array);
    [drawn.position, drawn.normal, drawn.paint, drawn.spot].forEach((attribute, place) => {
      if (!attribute) return;
      buffer(gl.ARRAY_BUFFER, attribute.values);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(
        place, attribute.width, attribute.componentType, attribute.normalized, 0, 0);
    });
    held.count = drawn.position.values.length / 3;
    if (drawn.list) {
      buffer(gl.ELEMENT_ARRAY_BUFFER, drawn.list);
      held.count = drawn.list.length;
      held.kind = {1: gl.UNSIGNED_BYTE, 2: gl.UNSIGNED_SHORT, 4: gl.UNSIGNED_INT}[
        drawn.list.BYTES_PER_ELEMENT];
    }
    gl.bindVertexArray(null);
    if (drawn.image) {
      held.picture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, held.picture);
      gl.texImage2D(
        gl.TEXTURE_2D, 0, gl.SRGB8_ALPHA8, gl.RGBA, gl.UNSIGNED_BYTE, drawn.image);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      drawn.image.close();
    }
    return held;
  }

  function release(held) {
    gl.deleteVertexArray(held.array);
    held.buffers.forEach((buffer) => gl.deleteBuffer(buffer));
    gl.deleteTexture(held.picture);
  }

  function measure(drawn) {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (const {position: {values, componentType, normalized}, place: m} of drawn) {
      const scale = normalized ? 1 / {5120: 127, 5122: 32767}[componentType] : 1;
      for (let v = 0; v < values.length; v += 3) {
        for (let axis = 0; axis < 3; axis++) {
          const value = scale * (m[axis] * values[v] + m[4 + axis] * values[v + 1]
            + m[8 + axis] * values[v + 2]) + m[12 + axis];
          if (value < low[axis]) low[axis] = value;
          if (value > high[axis]) high[axis] = value;
        }
      }
    }
    center = low.map((value, axis) => (value + high[axis]) / 2);
    radius = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
  }

  function draw() {
    const width = Math.round(canvas.clientWidth * Math.min(devicePixelRatio, 2));
    const height = Math.round(canvas.clientHeight * Math.min(devicePixelRatio, 2));
    if (!parts.length || !width || gl.isContextLost()) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    gl.uniformMatrix3fv(at("turn"), false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    gl.uniform3fv(at("center"), center);
    const distance = 6 * radius, focal = 6.6 * zoom, aspect = Math.min(1, width / height);
    gl.uniform3f(at("lens"), focal * aspect * height / width, focal * aspect, distance);
    gl.uniform1i(at("clay"), button("clay").ariaPressed === "true");
    gl.uniform1i(at("hollow"), !whole);
    for (const part of parts) {
      gl.uniformMatrix4fv(at("place"), false, part.place);
      gl.uniform1i(at("textured"), part.picture !== null);
      gl.uniform4fv(at("factor"), part.factor);
      gl.uniform1i(at("lit"), part.lit);
      gl.uniform1f(at("cutoff"), part.cutoff);
      (part.blend ? gl.enable : gl.disable).call(gl, gl.BLEND);
      gl.depthMask(!part.blend);
      gl.bindTexture(gl.TEXTURE_2D, part.picture);
      gl.bindVertexArray(part.array);
      if (!part.paint) gl.vertexAttrib4f(2, 1, 1, 1, 1);
      if (part.list) gl.drawElements(gl.TRIANGLES, part.count, part.kind, 0);
      else gl.drawArrays(gl.TRIANGLES, 0, part.count);
    }
    gl.depthMask(true);
  }

  // It sways: an open mask a little, as it looks best from the front, a head from ear to ear.
  function sway(now) {
    frame = 0;
    if (!swaying || !parts.length || !canvas.isConnected) return;
    began ||= now;
    // Where the sway should be, approached: from wherever the face stood before.
    yaw += 0.1 * ((whole ? 1.25 : 0.55) * Math.sin((now - began) / (whole ? 2600 : 1800)) - yaw);
    pitch += 0.1 * (0.06 * Math.sin((now - began) / 2700) - pitch);
    const {top, bottom} = canvas.getBoundingClientRect();
    if (bottom > 0 && top < innerHeight) draw();
    frame = requestAnimationFrame(sway);
  }

  function setSwaying(on) {
    swaying = on;
    began = 0;
    button("sway").ariaPressed = on;
    if (on && !frame) frame = requestAnimationFrame(sway);
  }

  async function load(blob) {
    const mine = ++order;
    const drawn = await readGlb(blob);
    if (mine !== order) return;  // another mesh was asked for meanwhile
    shownBlob = blob;
    parts.forEach(release);
    measure(drawn);
    whole = drawn.some((part) => part.position.morphs);
    parts = drawn.map(upload).sort((a, b) => a.blend - b.blend);
    parts.forEach((part) => {
      part.moved = part.position.morphs ? part.position : null;
      delete part.position;
      delete part.normal;
    });
    draw();
    setSwaying(swaying);
  }

  // The stage without a face, until another is loaded.
  function clear() {
    order += 1;
    shownBlob = null;
    parts.forEach(release);
    parts = [];
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  function weights() {
    const morphs = parts.flatMap(({moved}) => moved?.morphs ?? []);
    return Object.fromEntries(morphs.map(({name, weight}) => [name, weight]));
  }

  function pose(wanted) {
    for (const {moved, buffers} of parts) {
      const morphs = moved?.morphs.filter(({name}) => name in wanted) ?? [];
      if (!morphs.length) continue;
      morphs.forEach((morph) => { morph.weight = wanted[morph.name]; });
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, applied(moved.rest, moved.morphs));
    }
    draw();
  }

  function change(turned, tilted, nearer) {
    setSwaying(false);
    yaw += turned;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + tilted));
    zoom = Math.max(.6, Math.min(8, zoom * nearer));
    draw();
  }

  function front() {
    [yaw, pitch, zoom] = [0, 0, 1];
    change(0, 0, 1);
  }

  function show(surface) {
    for (const name of ["skin", "clay"]) button(name).ariaPressed = name === surface;
    draw();
  }

  const does = {skin: () => show("skin"), clay: () => show("clay"),
    sway: () => setSwaying(!swaying), out: () => change(0, 0, 1 / 1.25),
    in: () => change(0, 0, 1.25), front};
  holder.querySelector(".tools").addEventListener("click", (event) => {
    does[event.target.closest("button")?.dataset.do]?.();
  });
  // `touch-action: pan-y` leaves a swipe up or down to the page; what else fingers do comes here.
  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    setSwaying(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, event);
    const others = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
    if (others.length) {
      const apart = (finger) => Math.hypot(finger.x - others[0].x, finger.y - others[0].y) || 1;
      change(0, 0, apart(event) / apart(before));
    } else {
      change((event.x - before.x) / 150, (event.y - before.y) / 150, 1);
    }
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return;  // whoever scrolls past goes on scrolling
    event.preventDefault();
    change(0, 0, Math.exp(-event.deltaY / 500));
  }, {passive: false});
  const keys = {ArrowLeft: [-.1, 0, 1], ArrowRight: [.1, 0, 1], ArrowUp: [0, -.1, 1],
    ArrowDown: [0, .1, 1], "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1]};
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in keys) change(...keys[event.key]);
    else if (event.key === "0") front();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    setUp();
    if (shownBlob) load(shownBlob);
  });
  new ResizeObserver(draw).observe(canvas);
  setUp();
  return {load, clear, weights, pose};
}
