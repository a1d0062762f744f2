package omaha_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/omaha"
)

const appID = "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}"

// sampleRequest has every attribute that update_engine sends.
const sampleRequest = `<?xml version="1.0" encoding="UTF-8"?>
<request protocol="3.0" version="update_engine-0.4.10" updaterversion="update_engine-0.4.10" installsource="ondemandupdate" ismachine="1">
<os version="Chateau" platform="CoreOS" sp="1185.3.0_x86_64"></os>
<app appid="{e96281a6-d1af-4bde-9a0a-97b76e56dc57}" version="1185.3.0" track="alpha" bootid="{8f1e}" oem="qemu" oemversion="0.0.1" alephversion="1010.1.0" machineid="32a89c4b" machinealias="m1" lang="en-US" board="amd64-usr" hardware_class="" delta_okay="false" >
<ping active="1"></ping>
<updatecheck></updatecheck>
<event eventtype="3" eventresult="0" errorcode="44" previousversion="1180.0.0"></event>
</app>
</request>
`

func TestReadRequest(t *testing.T) {
	q, err := omaha.ReadRequest(strings.NewReader(sampleRequest))
	require.NoError(t, err)
	assert.Equal(t, "ondemandupdate", q.InstallSource)
	assert.Equal(t, "1185.3.0_x86_64", q.OS.ServicePack)
	require.Len(t, q.Apps, 1)
	a := q.Apps[0]
	assert.Equal(t, appID, a.ID)
	assert.Equal(t, "alpha", a.Track)
	assert.Equal(t, "1010.1.0", a.AlephVersion)
	assert.False(t, a.DeltaOK)
	assert.NotNil(t, a.UpdateCheck)
	assert.Equal(t, 1, a.Ping.Active)
	assert.Equal(t, []*omaha.Event{{Type: omaha.EventUpdateComplete, ErrorCode: 44, PreviousVersion: "1180.0.0"}}, a.Events)
	assert.Equal(t, "update complete: error", a.Events[0].Type.String()+": "+a.Events[0].Result.String())
}

func TestRequestRoundTrip(t *testing.T) {
	q := &omaha.Request{
		Protocol: omaha.Protocol, Version: "1", InstallSource: "scheduler", IsMachine: 1,
		OS: &omaha.OS{Platform: "Slipway", Version: "4888.0.0", Arch: "x86_64"},
		Apps: []*omaha.App{{
			ID: appID, Version: "4888.0.0", Track: "alpha", MachineID: "m", DeltaOK: true,
			UpdateCheck: &omaha.UpdateCheck{}, Ping: &omaha.Ping{Active: 1},
			Events: []*omaha.Event{{Type: omaha.EventDownloadStarted, Result: omaha.ResultSuccess}},
		}},
	}
	var b bytes.Buffer
	require.NoError(t, omaha.Encode(&b, q))
	got, err := omaha.ReadRequest(&b)
	require.NoError(t, err)
	got.XMLName = q.XMLName
	assert.Equal(t, q, got)
}

// offer is a response with an update.
func offer() *omaha.Response {
	sum := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	return &omaha.Response{
		Protocol: omaha.Protocol, Server: "slipway", DayStart: &omaha.DayStart{},
		Apps: []*omaha.AppResponse{{
			ID: appID, Status: "ok",
			UpdateCheck: &omaha.UpdateCheckResponse{
				Status: omaha.StatusOK, PollInterval: 3600,
				URLs: []*omaha.URL{{CodeBase: "http://127.0.0.1:8000/alpha/4889.0.0/"}, {CodeBase: "https://[::1]/x"}},
				Manifests: []*omaha.Manifest{{
					Version:  "4889.0.0",
					Packages: []*omaha.Package{{Name: "update.payload", Size: 42, Required: true}},
					Actions:  []*omaha.Action{{Event: "install"}, {Event: "postinstall", SHA256: sum, IsDelta: true}},
				}},
			},
		}},
	}
}

func TestResponseRoundTrip(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, omaha.Encode(&b, offer()))
	p, err := omaha.ReadResponse(&b)
	require.NoError(t, err)
	app, ok := p.App(strings.ToUpper(appID))
	require.True(t, ok)
	u, err := app.UpdateCheck.Update()
	require.NoError(t, err)
	assert.Equal(t, "4889.0.0", u.Version)
	assert.Equal(t, []string{
		"http://127.0.0.1:8000/alpha/4889.0.0/update.payload", "https://[::1]/x/update.payload",
	}, u.URLs)
	assert.EqualValues(t, 42, u.Size)
	assert.Equal(t, [32]byte(bytes.Repeat([]byte{7}, 32)), u.SHA256)
	assert.True(t, u.Delta)
}

func TestOffersThatMakeNoSense(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(c *omaha.UpdateCheckResponse)
		want  string
	}{
		{"no manifest", func(c *omaha.UpdateCheckResponse) { c.Manifests = nil }, "an update without manifest"},
		{"no package", func(c *omaha.UpdateCheckResponse) { c.Manifests[0].Packages = nil }, `version "4889.0.0" without package`},
		{"empty package", func(c *omaha.UpdateCheckResponse) { c.Manifests[0].Packages[0].Size = 0 }, `package "update.payload" of 0 bytes`},
		{"no action", func(c *omaha.UpdateCheckResponse) { c.Manifests[0].Actions = nil }, `version "4889.0.0" without postinstall action`},
		{"digest", func(c *omaha.UpdateCheckResponse) { c.Manifests[0].Actions[1].SHA256 = "AAAA" }, `sha256 "AAAA": not one in base64`},
		{"no url", func(c *omaha.UpdateCheckResponse) { c.URLs = nil }, "an update without url"},
		{"file url", func(c *omaha.UpdateCheckResponse) { c.URLs[0].CodeBase = "file:///etc" }, `codebase "file:///etc": not an http address`},
		{"query", func(c *omaha.UpdateCheckResponse) { c.URLs[0].CodeBase = "http://h/?a=" }, `codebase "http://h/?a=": not an http address`},
		{"dots", func(c *omaha.UpdateCheckResponse) { c.Manifests[0].Packages[0].Name = "../x" }, `package "../x": not a name`},
		{"status", func(c *omaha.UpdateCheckResponse) { c.Status = "error-noPackageFound" }, `status "error-noPackageFound"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			check := offer().Apps[0].UpdateCheck
			c.spoil(check)
			_, err := check.Update()
			assert.EqualError(t, err, "omaha response: "+c.want)
		})
	}
	_, err := (&omaha.UpdateCheckResponse{Status: omaha.StatusNoUpdate}).Update()
	assert.True(t, errors.Is(err, omaha.ErrNoUpdate))
}

func TestHostileDocuments(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"empty", "", "ends too early"},
		{"cut", sampleRequest[:400], "XML syntax error on line 4: unexpected EOF"},
		{"not XML", "hello", "ends too early"},
		{"other document", `<response protocol="3.0"/>`, "expected element type <request> but have <response>"},
		{"protocol", `<request protocol="2.0"/>`, `protocol "2.0", want "3.0"`},
		{"bomb", `<!DOCTYPE a [<!ENTITY b "bb">]><request protocol="3.0"/>`, "has a DTD"},
		{"deep", strings.Repeat("<request>", 100), "more than 16 levels or 4096 elements"},
		{
			"wide", `<request protocol="3.0">` + strings.Repeat("<a/>", 5000) + "</request>",
			"more than 16 levels or 4096 elements",
		},
		{"large", `<request protocol="3.0">` + strings.Repeat(" ", omaha.MaxSize), "larger than 1048576 bytes"},
		{"two", `<request protocol="3.0"/><request/>`, "more than one document"},
		{"no appid", `<request protocol="3.0"><app/></request>`, "app without appid"},
		{
			"number", `<request protocol="3.0"><app appid="a"><event eventtype="x"/></app></request>`,
			`strconv.ParseInt: parsing "x": invalid syntax`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := omaha.ReadRequest(strings.NewReader(c.text))
			assert.EqualError(t, err, "omaha request: "+c.want)
		})
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(sampleRequest))
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := omaha.ReadRequest(bytes.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		require.NoError(t, omaha.Encode(&b, q))
	})
}

func FuzzReadResponse(f *testing.F) {
	var b bytes.Buffer
	if err := omaha.Encode(&b, offer()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := omaha.ReadResponse(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, a := range p.Apps {
			if a.UpdateCheck != nil {
				if u, err := a.UpdateCheck.Update(); err == nil {
					assert.NotEmpty(t, u.URLs)
				}
			}
		}
	})
}
