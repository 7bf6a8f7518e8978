// SPDX-License-Identifier: Apache-2.0
// Three GETs on one connection, eight at once, then a POST; prints the SHA-256 of each answer.
"use strict";
const [, , port, cert, name] = process.argv;
const https = require("node:https");
const { createHash } = require("node:crypto");
const ca = require("node:fs").readFileSync(cert);

function request(agent, method, body) {
  return new Promise((resolve, reject) => {
    const options = { host: "localhost", port, path: `/${name}`, method, agent, ca };
    if (body) options.headers = { "Content-Length": body.length };
    https
      .request(options, (response) => {
        const hash = createHash("sha256");
        response.on("data", (data) => hash.update(data));
        response.on("end", () => {
          console.log(response.statusCode, method, hash.digest("hex"));
          resolve();
        });
      })
      .on("error", reject)
      .end(body);
  });
}

(async () => {
  const one = new https.Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < 3; i++) await request(one, "GET");
  const many = new https.Agent({ keepAlive: true });
  await Promise.all(Array.from({ length: 8 }, () => request(many, "GET")));
  await request(one, "POST", Buffer.alloc(300_000, "p"));
  one.destroy();
  many.destroy();
})();
