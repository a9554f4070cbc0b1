"use strict";

const data = document.getElementById("mesh").textContent;
const viewer = makeViewer(document.getElementById("stage"));
if (viewer) viewer.load(new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))]));
else document.getElementById("stage").textContent = "This browser cannot show 3D (WebGL 2).";
