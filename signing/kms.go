package signing

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"slipway/signing/key"
)

// openKMS opens a key kept by a key management service. The program
// sigstore-kms-NAME in $PATH talks to it, in the plugin protocol of sigstore
// (pkg/signature/kms/cliplugin), one process per signature. Any plugin for
// cosign will do that signs digests made elsewhere.
func openKMS(ctx context.Context, ref string) (Signer, error) {
	name, _, _ := strings.Cut(ref, "://")
	service, err := kms.Get(ctx, ref, crypto.SHA256)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("no program sigstore-kms-%s in $PATH", name)
	} else if err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	public, err := service.PublicKey(options.WithContext(ask))
	if err != nil {
		return nil, fmt.Errorf("sigstore-kms-%s: public key: %w", name, orCause(ask, err))
	}
	k, err := key.New(public)
	if err != nil {
		return nil, err
	}
	return New(k, false, func(ctx context.Context, digest [32]byte) ([]byte, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
		defer cancel()
		// What has no digest of its own kind signs these 32 bytes.
		message := bytes.NewReader(digest[:])
		opts := []options.RequestContext{options.WithContext(ctx)}
		var signature []byte
		var err error
		if k.Algorithm == key.Ed25519 {
			signature, err = service.SignMessage(message, opts[0])
		} else {
			signature, err = service.SignMessage(message, opts[0],
				options.WithDigest(digest[:]), options.WithCryptoSignerOpts(crypto.SHA256))
		}
		if err != nil {
			return nil, fmt.Errorf("sigstore-kms-%s: %w", name, orCause(ctx, err))
		}
		return signature, nil
	}), nil
}

// orCause prefers why a context ended over what came of it.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
