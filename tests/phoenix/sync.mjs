// Reads recorded frames of several watchers, `[[{type, data}, …], …]`, and writes what the unchanged Presence of the
// npm package `phoenix` makes of each: the state in the end, and every user who came or vanished on the way.
import { readFileSync } from "node:fs";
import { Presence } from "phoenix";

function follow(frames) {
  let state = {};
  const passages = [];
  const onJoin = (id, before) => {
    if (!before) passages.push(`+${id}`);
  };
  const onLeave = (id, after) => {
    if (after.metas.length === 0) passages.push(`-${id}`);
  };
  for (const { type, data } of frames) {
    if (type === "presence_state") state = Presence.syncState(state, data, onJoin, onLeave);
    else if (type === "presence_diff") state = Presence.syncDiff(state, data, onJoin, onLeave);
    else throw new Error(`a frame of type ${type}`);
  }
  return { state, passages };
}

const recordings = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(recordings.map(follow)));
