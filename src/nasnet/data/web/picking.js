// Ways a picture comes into the page: a file, a drop, a paste, the camera.

/**
 * Give a section its ways of choosing a picture.
 *
 * @param {HTMLElement} section with `.drop`, a file input and a button `.camera`
 * @param {(picture: File) => void} onPicture
 * @param {(text: string) => void} onTrouble
 */
export function makePicker(section, onPicture, onTrouble) {
  const drop = section.querySelector(".drop");
  const input = section.querySelector("input[type=file]");
  const take = (files) => {
    const picture = [...files].find((file) => file.type.startsWith("image/")) ?? files[0];
    if (picture) onPicture(picture);
  };
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen once more
  });
  let depth = 0; // entering a child comes before leaving its parent
  const over = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle("over", depth > 0);
  };
  drop.addEventListener("dragenter", () => over(1));
  drop.addEventListener("dragleave", () => over(-1));
  drop.addEventListener("drop", (event) => {
    over(-depth);
    take(event.dataTransfer.files);
  });
  section.querySelector(".camera").addEventListener("click", async () => {
    try {
      const picture = await photograph();
      if (picture) onPicture(picture);
    } catch (error) {
      onTrouble(`The camera cannot be used: ${error.message}`);
    }
  });
}

/** A picture dropped beside the frame must not replace the page. */
export function keepPageOnDrop() {
  for (const kind of ["dragover", "drop"]) {
    window.addEventListener(kind, (event) => event.preventDefault());
  }
}

/** A picture pasted anywhere, unless into a field. */
export function onPaste(take) {
  window.addEventListener("paste", (event) => {
    const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    if (picture) take(picture);
  });
}

/**
 * Let the user take a photograph.
 *
 * @returns {Promise<File | null>} null where the user thought better of it
 */
async function photograph() {
  // Browsers lend the camera to pages of this machine or over TLS only; elsewhere a phone's own
  // camera can still be asked for a file.
  if (!navigator.mediaDevices?.getUserMedia) return fromSystemCamera();
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "environment", width: { ideal: 1280 } },
  });
  const dialog = document.getElementById("camera");
  const video = dialog.querySelector("video");
  const shutter = dialog.querySelector(".shutter");
  const cancel = dialog.querySelector(".cancel");
  let picture = null;
  shutter.disabled = true;
  video.onplaying = () => {
    shutter.disabled = false;
    shutter.focus();
  };
  shutter.onclick = async () => {
    picture = await still(video);
    dialog.close();
  };
  cancel.onclick = () => dialog.close();
  video.srcObject = stream;
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  video.srcObject = null;
  for (const track of stream.getTracks()) track.stop();
  return picture;
}

function still(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob(
      (data) => resolve(new File([data], "camera.jpg", { type: "image/jpeg" })),
      "image/jpeg",
      0.95,
    );
  });
}

function fromSystemCamera() {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = "image/*";
  input.capture = "environment";
  return new Promise((resolve) => {
    input.addEventListener("change", () => resolve(input.files[0] ?? null));
    input.addEventListener("cancel", () => resolve(null));
    input.click();
  });
}
