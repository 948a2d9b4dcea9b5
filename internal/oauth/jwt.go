package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// randomText returns 256 random bits in 43 characters, as RFC 7636 section 4.1
// recommends for verifiers.
func randomText() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// s256 is the code challenge of a verifier (RFC 7636 section 4.2), and the hash
// of a token in a proof.
func s256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// parseKey reads a private key for assertions. The error says nothing of the key.
func parseKey(s Secret) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(s.Reveal()))
	if block == nil {
		return nil, errors.New("the private key is no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the private key cannot be read")
	}
	return signer, nil
}

// algorithms returns those that a key can sign with, the usual one first.
func algorithms(key crypto.Signer) []string {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return []string{"RS256", "PS256", "RS384", "RS512", "PS384", "PS512"}
	case ed25519.PrivateKey:
		return []string{"EdDSA"}
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	}
	return nil
}

const assertionLife = time.Minute

// assertion signs a JWT by which the client proves who it is (RFC 7523 section 3).
func (c *Client) assertion(r *Registration, audience string) (string, error) {
	key, err := parseKey(r.PrivateKey)
	if err != nil {
		return "", err
	}
	can := algorithms(key)
	if len(can) == 0 || r.Algorithm != "" && !slices.Contains(can, r.Algorithm) {
		return "", fmt.Errorf("the private key cannot sign with %q", r.Algorithm)
	}
	alg := r.Algorithm
	if alg == "" {
		alg = can[0]
	}
	o := (&jose.SignerOptions{}).WithType("JWT")
	if r.KeyID != "" {
		o = o.WithHeader("kid", r.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, o)
	if err != nil {
		return "", errors.New("the private key cannot be used")
	}
	now := c.opts.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: r.ClientID, Subject: r.ClientID, Audience: jwt.Audience{audience}, ID: randomText(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-10 * time.Second)), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
	if err != nil {
		return "", errors.New("the private key cannot be used")
	}
	return token, nil
}

// proofAlgorithm is the one for the keys that tokens are bound to.
const proofAlgorithm = "ES256"

// newProofKey makes a key for DPoP.
func newProofKey() (Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a key: %w", err)
	}
	return Secret(base64.StdEncoding.EncodeToString(der)), nil
}

func parseProofKey(s Secret) (*ecdsa.PrivateKey, error) {
	der, err := base64.StdEncoding.DecodeString(s.Reveal())
	if err != nil {
		return nil, errors.New("the proof key cannot be read")
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := k.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("the proof key cannot be read")
	}
	return key, nil
}

// thumbprint is that of the public key (RFC 7638), for dpop_jkt.
func thumbprint(s Secret) (string, error) {
	key, err := parseProofKey(s)
	if err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", errors.New("the proof key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

type proofClaims struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Issued int64  `json:"iat"`
	Hash   string `json:"ath,omitempty"`
	Nonce  string `json:"nonce,omitempty"`
}

// proof makes a DPoP proof for one request (RFC 9449 section 4.2). token is the
// access token that goes with it, "" at the token endpoint.
func (c *Client) proof(keyText Secret, method string, target *url.URL, token Secret, nonce string) (string, error) {
	key, err := parseProofKey(keyText)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: proofAlgorithm, Key: key},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return "", errors.New("the proof key cannot be used")
	}
	bare := *target
	bare.RawQuery, bare.ForceQuery, bare.Fragment, bare.RawFragment, bare.User = "", false, "", "", nil
	claims := proofClaims{ID: randomText(), Method: method, URL: bare.String(), Issued: c.opts.Now().Unix(), Nonce: nonce}
	if token != "" {
		claims.Hash = s256(token.Reveal())
	}
	p, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return "", errors.New("the proof key cannot be used")
	}
	return p, nil
}
