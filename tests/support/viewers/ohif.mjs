// What a radiologist does with OHIF in his first minutes, done by a browser.
//
//   node ohif.mjs '{"packages": ..., "browser": ..., "site": ..., "step_ms": ...,
//    "accession": ..., "image": ..., "report": ..., "middle": ..., "out": ...}'
//
// Prints one JSON object: what each step has seen, what went wrong, and "failed", the step that did not end.
import { createRequire } from 'node:module';

const given = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${given.packages}/`)('playwright-core');
const STEP_MS = given.step_ms;

const seen = { console: [], requests: [], boxes: [], seconds: {} };

const browser = await chromium.launch({
  executablePath: given.browser,
  timeout: STEP_MS,
  // Root has no sandbox, and there is no graphics card: WebGL is drawn by the processor.
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
});
const page = await browser.newPage({ viewport: { width: 1800, height: 700 } });
page.setDefaultTimeout(STEP_MS);
page.on('console', said => said.type() === 'error' && seen.console.push(said.text()));
page.on('pageerror', error => seen.console.push(String(error)));
page.on('response', got => got.status() >= 400 && seen.requests.push(`${got.status()} ${got.url()}`));
// The browser's own PDF viewer breaks requests off inside itself.
page.on(
  'requestfailed',
  one => one.url().startsWith(given.site) && seen.requests.push(`${one.failure().errorText} ${one.url()}`),
);
// OHIF shows newcomers around; this one has been there.
await page.addInitScript(
  () => window === top && localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour'])),
);

// ------------------------------------------------------------------ the study list

// Do something that makes OHIF search; return the number of studies in the answer, and the first rows when they are shown.
const searched = async (query, act) => {
  const asked = page.waitForResponse(got => decodeURIComponent(got.url()).includes(query));
  const [answer] = await Promise.all([asked, act()]);
  const count = (await answer.json()).length;
  const rows = () => [...document.querySelectorAll('table')].at(-1).querySelectorAll('tbody tr');
  await page.waitForFunction(`(found => found === ${count} || found >= 10)((${rows})().length)`);
  const texts = await page.evaluate(`[...(${rows})()].slice(0, 10).map(row => [...row.cells].map(cell => cell.innerText))`);
  return { count, rows: texts };
};

const filter = async name => {
  const names = await page.locator('thead th').allInnerTexts();
  const column = names.findIndex(one => one.trim() === name);
  return page.locator('[data-filter-row] td').nth(column).locator('input');
};
const typed = async (name, text, query) => searched(query, async () => (await filter(name)).first().fill(text));
const date = async (edge, day) => {
  await page.locator(`#studyDateTime-${edge}`).fill(day);
  await page.keyboard.press('Enter');
};
// Leave only the studies of this test in the list.
const ours = async () => {
  await page.keyboard.press('Escape');
  await searched('/studies?limit', () => page.getByLabel('Reset filters').click());
  return typed('Accession', given.accession, `AccessionNumber=*${given.accession}*`);
};

// ------------------------------------------------------------------ images

// Wait until as many viewports of a kind show something.
const viewports = (kind, count) =>
  page.waitForFunction(
    wanted => {
      const all = globalThis.cornerstone?.getRenderingEngines?.()?.flatMap(one => one.getViewports()) ?? [];
      return all.filter(one => one.type === wanted.kind && one.getActors().length).length === wanted.count;
    },
    { kind, count },
  );

// Wait for a condition on the slice of the first viewport, counted from 0.
const slice = condition =>
  page.waitForFunction(
    `(number => ${condition})(cornerstone.getRenderingEngines().flatMap(one => one.getViewports())[0].getSliceIndex())`,
  );

// Return slice, window and greys of a viewport: the means of four patches, left to right and top to bottom.
const look = place =>
  page.evaluate(wanted => {
    const shown = cornerstone.getRenderingEngines().flatMap(one => one.getViewports())[wanted];
    const { canvas } = shown;
    const side = Math.min(canvas.width, canvas.height);
    const grey = (x, y) => {
      const left = Math.round(canvas.width / 2 + (x - 0.55) * side);
      const top = Math.round(canvas.height / 2 + (y - 0.55) * side);
      const { data } = canvas.getContext('2d').getImageData(left, top, Math.round(side / 10), Math.round(side / 10));
      return data.filter((_, at) => at % 4 === 0).reduce((sum, one) => sum + one, 0) / (data.length / 4);
    };
    const { lower, upper } = shown.getProperties().voiRange;
    const greys = [grey(0.2, 0.2), grey(0.7, 0.2), grey(0.2, 0.7), grey(0.7, 0.7)];
    return { slice: shown.getSliceIndex(), window: [lower, upper], greys };
  }, place);

// Return the same of the first viewport once its window is, or is not, that of the header and nothing changes any more.
const settled = async isOfHeader => {
  await page.waitForFunction(
    ([lower, upper, wanted]) => {
      const shown = cornerstone.getRenderingEngines().flatMap(one => one.getViewports())[0].getProperties().voiRange;
      return (shown.lower === lower && shown.upper === upper) === wanted;
    },
    [...seen.stack.window, isOfHeader],
  );
  let [last, same] = ['', 0];
  while (same < 3) {
    await page.waitForTimeout(200);
    const now = JSON.stringify(await look(0));
    [last, same] = [now, now === last ? same + 1 : 0];
  }
  return JSON.parse(last);
};

// Return red, green and blue in the middle of what the page shows at an element.
const colour = async element => {
  const picture = (await element.screenshot()).toString('base64');
  return page.evaluate(async png => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const drawn = new OffscreenCanvas(image.width, image.height).getContext('2d');
    drawn.drawImage(image, 0, 0);
    return [...drawn.getImageData(image.width / 2, image.height / 2, 1, 1).data].slice(0, 3);
  }, picture);
};

// Put the mouse on the middle of the first viewport and return the place.
const onImage = async () => {
  const image = page.locator('.cornerstone-canvas').first();
  // OHIF may replace a canvas that was there a moment ago.
  let box = null;
  while (!box) {
    await image.waitFor();
    box = await image.boundingBox();
  }
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  return [x, y];
};

const open = async title => {
  await page.locator('table').last().getByText(title, { exact: true }).click();
  await page.getByRole('button', { name: 'Basic Viewer' }).click();
};

// Return the texts of what OHIF puts over the page when something went wrong.
const errorBoxes = () =>
  page.evaluate(() =>
    [...document.querySelectorAll('[role=dialog], [role=alertdialog], [data-sonner-toast]')]
      .map(one => one.innerText)
      .filter(text => /error|wrong|fail|retry/i.test(text)),
  );

// ------------------------------------------------------------------ the steps, in order

const steps = {
  bookmark: () =>
    searched('ModalitiesInStudy=CT,DOC&', () =>
      page.goto(`${given.site}/?accession=${given.accession}&modalities=CT,DOC`),
    ),
  list: () => searched('/studies?limit', () => page.getByLabel('Reset filters').click()),
  letter: () => typed('Patient', 'n', 'PatientName=*n*'),
  accession: ours,
  modality: () =>
    searched('ModalitiesInStudy=CT&', async () => {
      await (await filter('Modalities')).first().click();
      await page.getByRole('option', { name: 'CT', exact: true }).click();
    }),
  description: async () => {
    await ours();
    return typed('Description', 'abdomen', 'StudyDescription=*abdomen*');
  },
  dates: async () => {
    await ours();
    return searched('StudyDate=20260318-20260319', async () => {
      await date('start', '2026-03-18');
      await date('end', '2026-03-19');
    });
  },
  stack: async () => {
    await ours();
    await open(given.image);
    await page.setViewportSize({ width: 1100, height: 700 });
    await viewports('stack', 1);
    await page.waitForLoadState('networkidle');
    await onImage();
    for (let number = 1; number <= given.middle; number += 1) {
      await page.mouse.wheel(0, 100);
      await slice(`number === ${number}`);
    }
    await page.waitForLoadState('networkidle');
    return look(0);
  },
  window: async () => {
    const [x, y] = await onImage();
    await page.mouse.down();
    await page.mouse.move(x + 60, y + 30, { steps: 6 });
    await page.mouse.up();
    const dragged = await settled(false);
    await page.locator('[data-cy="Reset-btn"]').first().click();
    await settled(true);
    return dragged;
  },
  cine: async () => {
    await page.locator('[data-cy="MoreTools-split-button-secondary"]').click();
    await page.getByText('Cine', { exact: true }).click();
    await page.locator('[data-cy="cine-player-play-pause"]').first().click();
    const slices = new Set();
    const until = performance.now() + given.step_ms;
    while (slices.size < 3 && performance.now() < until) slices.add((await look(0)).slice);
    await page.locator('[data-cy="cine-player-close"]').first().click();
    return slices.size;
  },
  mpr: async () => {
    await page.locator('[data-cy="Layout"]').click();
    await page.getByText('MPR', { exact: true }).click();
    await viewports('orthographic', 3);
    await page.waitForLoadState('networkidle');
    return Promise.all([0, 1, 2].map(look));
  },
  pdf: async () => {
    await searched(`AccessionNumber=*${given.accession}*`, () =>
      page.goto(`${given.site}/?accession=${given.accession}`),
    );
    await open(given.report);
    const shown = page.locator('object[type="application/pdf"]');
    await shown.waitFor();
    const until = performance.now() + given.step_ms;
    let found = await colour(shown);
    while (found.join() !== given.colour.join() && performance.now() < until) {
      await page.waitForTimeout(200);
      found = await colour(shown);
    }
    return found;
  },
};

for (const [name, step] of Object.entries(steps)) {
  const began = performance.now();
  try {
    seen[name] = await step();
  } catch (error) {
    seen.failed = `${name}: ${error.message}`;
  }
  seen.boxes.push(...(await errorBoxes()));
  seen.seconds[name] = (performance.now() - began) / 1000;
  await page.screenshot({ path: `${given.out}/${name}.png` });
  if (seen.failed) break;
}
await browser.close();
process.stdout.write(JSON.stringify(seen));
