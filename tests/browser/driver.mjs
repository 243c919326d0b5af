// A real browser on a leash: runs what a test asks of it. A line of JSON comes in, `{code, values}`, and one goes out,
// `{result}` or `{error}`. `code` is the body of an async function of `browser`, `kept` (what earlier lines left there),
// `values` and `until`. Arguments: the folder with node_modules, the browser's program.
import { createRequire } from "node:module";
import readline from "node:readline";

const [folder, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath,
  // The rest of the machine is the sandbox: tests run as root in containers.
  args: ["--no-sandbox", "--mute-audio", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
});

/** Waits until an expression in a frame is true. One that fails is not yet: another document may be on its way. Playwright's
 *  own way evaluates within the page, whose policy forbids it. */
async function until(frame, expression, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    let failure = "";
    try {
      if (await frame.evaluate(expression)) return;
    } catch (error) {
      failure = `: ${error.message}`;
    }
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${expression}${failure}`);
    await new Promise((next) => setTimeout(next, 25));
  }
}

const AsyncFunction = (async () => {}).constructor;
const kept = {};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { code, values } = JSON.parse(line);
  let answer;
  try {
    const run = new AsyncFunction("browser", "kept", "values", "until", code);
    answer = { result: (await run(browser, kept, values, until)) ?? null };
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
