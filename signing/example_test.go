package signing_test

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"slipway/signing"
	"slipway/signing/key"
)

// A signer of one's own needs a public key and a function.
func ExampleNew() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // or a device, or a service
	public, err := key.New(private.Public())
	if err != nil {
		panic(err)
	}
	s := signing.New(public, false, func(_ context.Context, digest [32]byte) ([]byte, error) {
		return ed25519.Sign(private, digest[:]), nil
	})
	signature, err := s.SignDigest(context.Background(), [32]byte{})
	fmt.Println(s.KeyID(), s.Algorithm(), len(signature), err)
	// Output: 339e2ff917630507 ed25519 64 <nil>
}
