// Every operation of the API, drawn from its own OpenAPI description; nothing is fetched from elsewhere.
"use strict";

const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

function describe(schema, all) {
  if (!schema) return "";
  if (schema.$ref) return JSON.stringify(all[schema.$ref.split("/").pop()].properties, null, 2);
  return JSON.stringify(schema, null, 2);
}

async function show() {
  const description = await (await fetch("/api/openapi.json")).json();
  const schemas = (description.components || {}).schemas || {};
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const box = document.createElement("details");
      box.append(make("summary", `${method.toUpperCase()} ${path}`), make("p", operation.description || ""));
      for (const each of operation.parameters || []) {
        box.append(make("p", `${each.name} (${each.in}${each.required ? ", required" : ""}): ${each.description || ""}`));
      }
      for (const [kind, body] of Object.entries((operation.requestBody || {}).content || {})) {
        box.append(make("p", `Body, ${kind}:`), make("pre", describe(body.schema, schemas)));
      }
      for (const [status, answer] of Object.entries(operation.responses)) {
        box.append(make("p", `${status}: ${answer.description}`));
      }
      document.getElementById("operations").append(box);
    }
  }
}

document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
show();
