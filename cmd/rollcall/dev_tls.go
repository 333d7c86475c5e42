package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/certs/issue"
	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
	"github.com/rollcallhq/rollcall/store/vfs"
)

const (
	devTLSDirectory = "tls" // of the data of a dev cluster
	devTLSDays      = 365
	devTLSRenew     = 24 * time.Hour // certificates that end sooner are made anew
)

// devFiles are the files of a node of a dev cluster with TLS; name is that of a node, or "" for a client, which
// needs no certificate.
func (cfg devConfig) devFiles(name string) (certs.Files, error) {
	dir, err := filepath.Abs(filepath.Join(cfg.data, devTLSDirectory))
	if err != nil {
		return certs.Files{}, err
	}
	files := certs.Files{CA: []string{filepath.Join(dir, caCertFile)}}
	if name != "" {
		files.Cert, files.Key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	}
	return files, nil
}

// makeDevTLS makes a CA and certificates of all nodes, unless those of an earlier run still do. Nobody keeps the key
// of the CA.
func makeDevTLS(cfg devConfig, nodes []devcluster.Node, now time.Time) error {
	if !cfg.fresh && devTLSDoes(cfg, nodes, now.Add(devTLSRenew)) {
		return nil
	}
	ca, err := issue.CA(devTLSDays, now)
	if err != nil {
		return err
	}
	files, err := cfg.devFiles("")
	if err != nil {
		return err
	}
	if err := vfs.MkdirAll(filepath.Dir(files.CA[0])); err != nil {
		return fmt.Errorf("make the directory of certificates: %w", err)
	}
	if err := vfs.ReplaceFile(files.CA[0], ca.CertPEM()); err != nil {
		return fmt.Errorf("write the CA: %w", err)
	}
	for _, n := range nodes {
		p, err := ca.Member(n.Name, []string{"127.0.0.1", "localhost"}, devTLSDays, now)
		if err != nil {
			return err
		}
		key, err := p.KeyPEM()
		if err != nil {
			return err
		}
		files, err := cfg.devFiles(n.Name)
		if err != nil {
			return err
		}
		if err := vfs.ReplaceFile(files.Key, key); err != nil {
			return fmt.Errorf("write a key: %w", err)
		}
		if err := vfs.ReplaceFile(files.Cert, p.CertPEM()); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

// devTLSDoes reports whether the files of all nodes are there, and good at a time.
func devTLSDoes(cfg devConfig, nodes []devcluster.Node, at time.Time) bool {
	for _, n := range nodes {
		files, err := cfg.devFiles(n.Name)
		if err != nil {
			return false
		}
		source, err := certs.Open(files, certs.Options{Use: certs.ForNode, Now: func() time.Time { return at }})
		if err != nil || certs.DefaultPeerNames().Match(source.Certificate(), n.Name) != nil {
			return false
		}
	}
	return true
}

// devTLSArguments are the flags of a node, also those that have their default: the nodes see our environment
// variables.
func devTLSArguments(cfg devConfig, name string) ([]string, error) {
	if !cfg.tls {
		return []string{"--tls", "off"}, nil
	}
	files, err := cfg.devFiles(name)
	if err != nil {
		return nil, err
	}
	return []string{"--tls", "required", "--cert", files.Cert, "--key", files.Key, "--ca", files.CA[0], "--peer-name", "{node}", "--peer-identity", "name"}, nil
}

// devTLSHint is what a shell needs to call a dev cluster with TLS.
func (o *devOutput) devTLSHint() string {
	if o.ca == "" {
		return ""
	}
	return fmt.Sprintf("  export ROLLCALL_CA=%s\n", shellWord(o.ca))
}

// shellWord quotes a path if a shell would read it as more than one word.
func shellWord(path string) string {
	for _, r := range path {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '/' || r == '.' || r == '-' || r == '_') {
			return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		}
	}
	return path
}
