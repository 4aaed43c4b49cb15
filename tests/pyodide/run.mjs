// node run.mjs FOLDER_OF_PYODIDE SCRIPT.py FILE... : run a script in Pyodide. Archives (.whl, .zip) are unpacked where
// Python imports from; other files are put into the working directory. stdout is the script's own.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, script, ...files] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`));
const pyodide = await loadPyodide({ indexURL: `${folder}/`, stdout: (line) => console.log(line) });

for (const file of files) {
	// A Uint8Array of its own: a node Buffer shares its memory with others, and Pyodide takes all of it.
	const bytes = new Uint8Array(await readFile(file));
	if (/\.(whl|zip)$/.test(file)) {
		const format = file.endsWith(".whl") ? "wheel" : "zip";
		const site = pyodide.runPython("import site; site.getsitepackages()[0]");
		pyodide.unpackArchive(bytes, format, { extractDir: site });
	} else {
		pyodide.FS.writeFile(basename(file), bytes);
	}
}
try {
	await pyodide.runPythonAsync(await readFile(script, "utf8"));
} catch (error) {
	console.error(error.message); // the Python traceback alone; node would print Pyodide's own source around it
	process.exit(1);
}
