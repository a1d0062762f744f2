package server

import (
	"fmt"
	"html/template"
)

// statusPage is the page for people. It has no scripts and loads nothing.
const statusPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Slipway updates</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
p.bad { border-left: .3rem solid #c00; padding-left: .8rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } th, td { border-color: #444 } }
</style></head><body>
<h1>Updates</h1>
{{range .Problems}}<p class="bad">{{.}}</p>
{{end}}<h2>Channels</h2>
<table><tr><th>Channel</th><th>Version</th><th>Architecture</th><th>Pointer</th><th>Roll-out</th><th>Floors</th>
<th class="n">Run it</th><th class="n">Failed</th></tr>
{{range .Channels}}<tr><td>{{.Name}}</td><td>{{.Version}}</td><td>{{.Arch}}</td><td>{{.Pointer}}</td>` +
	`<td>{{.Rollout}}</td><td>{{.Floors}}</td><td class="n">{{.Running}}</td><td class="n">{{.Failed}}</td></tr>
{{else}}<tr><td colspan="8">none</td></tr>
{{end}}</table>
<h2>Machines: {{.Total}}, {{.Today}} of them seen within a day</h2>
<table><tr><th>Channel</th><th>Version</th><th>Update</th><th class="n">Machines</th></tr>
{{range .Groups}}<tr><td>{{.Channel}}</td><td>{{.Version}}</td><td>{{.State}}</td><td class="n">{{.N}}</td></tr>
{{else}}<tr><td colspan="4">none yet</td></tr>
{{end}}</table>
<h2>Updates in flight</h2>
<table><tr><th>Channel</th><th>To</th><th>Update</th><th>Longest</th><th class="n">Machines</th></tr>
{{range .Flights}}<tr><td>{{.Channel}}</td><td>{{.Target}}</td><td>{{.State}}</td><td>{{.Longest}}</td><td class="n">{{.N}}</td></tr>
{{else}}<tr><td colspan="5">none</td></tr>
{{end}}</table>
<h2>Failures</h2>
<table><tr><th>Version</th><th>Error code</th><th class="n">Machines</th></tr>
{{range .Failures}}<tr><td>{{or .Version "unknown"}}</td><td>{{explain .Code}}</td><td class="n">{{.N}}</td></tr>
{{else}}<tr><td colspan="3">none</td></tr>
{{end}}</table>
</body></html>
`

func statusTemplate() (*template.Template, error) {
	return template.New("status").Funcs(template.FuncMap{"explain": explain}).Parse(statusPage)
}

// explain puts the error codes of update_engine into words.
func explain(code int) string {
	words, known := map[int]string{
		codeOpenSlot: "the slot cannot be written", codeTransfer: "the download broke off",
		10: "the payload is not what was announced",
		11: "the payload has another size", 12: "the payload's signature does not hold",
		15: "the slot does not hold what was written", 18: "signed by a key the machine does not know",
		21: "no payload", 22: "the payload is not signed", 23: "the payload's manifest is malformed",
		26: "the metadata's signature does not hold", 28: "an operation failed", 35: "not for this machine",
		codeOmahaHTTP: "a server did not answer", codeDeferred: "the machine waits",
		codeRollback: "was started and given up",
	}[code]
	switch {
	case known:
		return fmt.Sprintf("%d: %s", code, words)
	case code >= codeHTTP && code < codeHTTP+1000:
		return fmt.Sprintf("%d: HTTP status %d", code, code-codeHTTP)
	}
	return fmt.Sprint(code)
}
