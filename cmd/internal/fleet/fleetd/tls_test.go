package fleetd_test

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/etcdtest"
)

// etcd shows and asks for certificates, and so does the API over TCP: by those
// of etcd-certs here, which are as good as any.
func TestTLS(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, &etcdtest.Options{TLS: true})
	ca, cert, key := etcd.ClientFiles()
	dir := filepath.Dir(ca)
	free, err := net.Listen("tcp", "127.0.1.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	h := newHost(t, 1, fmt.Sprintf(`etcd_servers=%q
etcd_cafile=%s
etcd_certfile=%s
etcd_keyfile=%s
api_listen=%s
api_cafile=%s
api_certfile=%s
api_keyfile=%s`, etcd.Endpoints(), ca, cert, key, address, ca, filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")))
	h.start()
	want := "10.0.0.1\n"
	h.until("list-machines --no-legend --fields=ip", want)
	remote := "--endpoint https://" + address + " --ca-file " + ca
	assert.Equal(t, want, h.fleetctl(remote+" --cert-file "+cert+" --key-file "+key+" list-machines --no-legend --fields=ip"))
	assert.Contains(t, h.fleetctl(remote+" list-machines"), "tls: certificate required")
	assert.Contains(t, h.fleetctl("--endpoint http://"+address+" list-machines"), "400 Bad Request")
}
