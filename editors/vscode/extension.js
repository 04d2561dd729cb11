// Starts `tmelink lsp` for machine files, and ends it with the window.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = () => {
  const command = workspace.getConfiguration("tmelink").get("path");
  client = new LanguageClient(
    "tmelink",
    "tmelink",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "tmesh" }] },
  );
  return client.start();
};

exports.deactivate = () => client?.stop();
