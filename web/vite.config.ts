import { defineConfig } from "vitest/config";

// The build is committed and shipped in the Python package, so that people who play need no Node.
export default defineConfig({
  base: "/",
  build: {
    outDir: "../src/actionparty/interfaces/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // the page is served with a policy that allows no data: addresses
    reportCompressedSize: true,
  },
  server: {
    proxy: {
      "/api": "http://127.0.0.1:8801",
      "/ws": { target: "ws://127.0.0.1:8801", ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});
