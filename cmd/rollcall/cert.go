package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/certs/issue"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Names of the files of a CA, in the directory that --dir names.
const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
)

func newCertCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "cert ca|node|client",
		Short: "Make certificates for TLS, if you have no CA of your own",
		Long: `Makes a CA, and certificates that it signs: one for each member of a cluster, one for each client. They are
files in PEM form that only you can read. A file that is there is never replaced.

It asks no node and needs no network. Keep the key of the CA away from the nodes: who has it can make a
certificate of any member.`,
		Example: `  rollcall cert ca --dir tls
  rollcall cert node n1 --dir tls --host 10.0.0.1
  rollcall cert client ops --dir tls`,
	}, newCertCACommand(a), newCertNodeCommand(a), newCertClientCommand(a))
}

// certDirectory is the directory of a CA and of what it signs.
type certDirectory struct {
	path string
	days int
}

func (d *certDirectory) register(cmd *cobra.Command, days int) {
	f := cmd.Flags()
	f.StringVar(&d.path, "dir", ".", "`directory` of the files; it must exist")
	f.IntVar(&d.days, "days", days, fmt.Sprintf("how long the certificate is valid; at most %d", issue.MaxDays))
	f.SetAnnotation("dir", cobra.BashCompSubdirsInDir, nil)
	cliflag.NotEmpty(f, "dir")
	cliflag.FlagOnly(f, "dir", "days")
}

func (d *certDirectory) file(name string) string { return filepath.Join(d.path, name) }

// check refuses what is wrong before a key is made.
func (d *certDirectory) check(names ...string) error {
	if d.days < 1 || d.days > issue.MaxDays {
		return invalid("--days is %d; use 1 to %d", d.days, issue.MaxDays)
	}
	if info, err := os.Stat(d.path); errors.Is(err, fs.ErrNotExist) {
		return &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonDisk, err: fmt.Errorf("the directory %s does not exist", d.path), next: "make it first"}
	} else if err == nil && !info.IsDir() {
		return invalid("--dir: %s is not a directory", d.path)
	}
	for _, name := range names {
		if fileExists(d.file(name)) {
			return certFileThere(d.file(name))
		}
	}
	return nil
}

func certFileThere(file string) *failure {
	return &failure{exit: exitNotDone, code: codes.AlreadyExists, reason: reasonDisk, err: fmt.Errorf("%s is there already, and is not replaced", file), next: "move it away first, or use another --dir"}
}

// authority reads the CA of the directory.
func (d *certDirectory) authority() (issue.Pair, error) {
	ca, err := issue.ReadCA(d.file(caCertFile), d.file(caKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ca, &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonDisk, err: err, next: `"rollcall cert ca" makes a CA; --dir says where it is`}
	} else if err != nil {
		return ca, &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: err}
	}
	return ca, nil
}

// write writes both files or none.
func (d *certDirectory) write(name string, p issue.Pair) (certFile, keyFile string, err error) {
	key, err := p.KeyPEM()
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = d.file(name+".crt"), d.file(name+".key")
	if err := writeCertFile(keyFile, key); err != nil {
		return "", "", err
	}
	if err := writeCertFile(certFile, p.CertPEM()); err != nil {
		return "", "", errors.Join(err, os.Remove(keyFile))
	}
	return certFile, keyFile, nil
}

func writeCertFile(file string, data []byte) error {
	err := vfs.WriteFile(file, false, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		return certFileThere(file)
	} else if err != nil {
		return &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: err}
	}
	return nil
}

// certReport is a certificate that was made, in JSON.
type certReport struct {
	Certificate string   `json:"certificate"`
	Key         string   `json:"key"`
	Names       []string `json:"names,omitempty"`
	Identity    string   `json:"identity,omitempty"`
	NotAfter    string   `json:"not_after"`
}

func reportOfCert(certFile, keyFile string, p issue.Pair) certReport {
	r := certReport{Certificate: certFile, Key: keyFile, NotAfter: p.Cert.NotAfter.UTC().Format(time.RFC3339)}
	r.Names = append(r.Names, p.Cert.DNSNames...)
	for _, ip := range p.Cert.IPAddresses {
		r.Names = append(r.Names, ip.String())
	}
	if !p.Cert.IsCA {
		r.Identity, _ = certs.Identity(p.Cert) // it has one: names were checked
	}
	return r
}

func (a *app) printCert(r certReport, lines ...string) error {
	a.did = lines[0]
	return a.printObject(r, func() error {
		_, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n"))
		return err
	})
}

func newCertCACommand(a *app) *cobra.Command {
	var d certDirectory
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make a CA",
		Long: `Makes ca.crt, which nodes and clients verify certificates with, and ca.key, which signs them.

To replace a CA, make another one in another directory, give every node and client a file with both, then
give each a new certificate, and take the old CA out of the file last.`,
		Example: `  rollcall cert ca --dir tls`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := d.check(caCertFile, caKeyFile); err != nil {
				return err
			}
			p, err := issue.CA(d.days, a.now())
			if err != nil {
				return invalid("%w", err)
			}
			certFile, keyFile, err := d.write("ca", p)
			if err != nil {
				return err
			}
			r := reportOfCert(certFile, keyFile, p)
			return a.printCert(r,
				fmt.Sprintf("CA made: %s, and its key %s; valid until %s", certFile, keyFile, r.NotAfter),
				fmt.Sprintf("keep %s secret, and away from the nodes", keyFile),
				fmt.Sprintf("next, for each member: rollcall cert node NAME --host HOST --dir %s", d.path))
		},
	}
	d.register(cmd, 3650)
	return cmd
}

func newCertNodeCommand(a *app) *cobra.Command {
	var d certDirectory
	var hosts []string
	cmd := &cobra.Command{
		Use:   "node NAME",
		Short: "Make the certificate of a member",
		Long: `Makes NAME.crt and NAME.key for the member NAME. The CA is ca.crt and ca.key of the same directory.

The certificate names the member, which is what the other members look at. Clients look at the host name
or the address that they call: give each by --host.`,
		Example: `  rollcall cert node n1 --dir tls --host 10.0.0.1
  rollcall cert node n1 --dir tls --host n1.example.org --host 127.0.0.1 --days 90`,
		Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			return a.makeCert(&d, name, func(ca issue.Pair) (issue.Pair, error) { return ca.Member(name, hosts, d.days, a.now()) },
				func(r certReport) []string {
					return []string{
						fmt.Sprintf("certificate of member %s made: %s, and its key %s; for %s; valid until %s", name, r.Certificate, r.Key, strings.Join(r.Names, ", "), r.NotAfter),
						fmt.Sprintf("next: copy both, and %s, to its machine; %s stays here", d.file(caCertFile), d.file(caKeyFile)),
						fmt.Sprintf("start it with: rollcall serve --node %s ... --tls required --cert %s.crt --key %s.key --ca %s", name, name, name, caCertFile),
					}
				})
		},
	}
	d.register(cmd, 365)
	cliflag.ListVarP(cmd.Flags(), &hosts, "host", "", nil, "host `name` or IP address at which clients call the member; comma separated or repeated")
	cliflag.FlagOnly(cmd.Flags(), "host")
	return cmd
}

func newCertClientCommand(a *app) *cobra.Command {
	var d certDirectory
	cmd := &cobra.Command{
		Use:   "client NAME",
		Short: "Make the certificate of a client",
		Long: `Makes NAME.crt and NAME.key for a client: a person or a program. The CA is ca.crt and ca.key of the same
directory. To the nodes the client is "cert:NAME". NAME may be a SPIFFE id; in the names of the files,
what is no letter, digit, ".", "-", "_" or "@" is then "_".`,
		Example: `  rollcall cert client ops --dir tls
  rollcall cert client spiffe://example.org/shop/cart --dir tls --days 30`,
		Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.makeCert(&d, args[0], func(ca issue.Pair) (issue.Pair, error) { return ca.Client(args[0], d.days, a.now()) },
				func(r certReport) []string {
					return []string{
						fmt.Sprintf("certificate of client %s made: %s, and its key %s; valid until %s", r.Identity, r.Certificate, r.Key, r.NotAfter),
						fmt.Sprintf("next: rollcall status --ca %s --cert %s --key %s", d.file(caCertFile), r.Certificate, r.Key),
					}
				})
		},
	}
	d.register(cmd, 365)
	return cmd
}

// makeCert makes a certificate of name, signed by the CA of the directory, and its files.
func (a *app) makeCert(d *certDirectory, name string, sign func(ca issue.Pair) (issue.Pair, error), lines func(certReport) []string) error {
	base := certFileName(name)
	if err := d.check(base+".crt", base+".key"); err != nil {
		return err
	}
	ca, err := d.authority()
	if err != nil {
		return err
	}
	p, err := sign(ca)
	if err != nil {
		return invalid("%w", err)
	}
	certFile, keyFile, err := d.write(base, p)
	if err != nil {
		return err
	}
	r := reportOfCert(certFile, keyFile, p)
	return a.printCert(r, lines(r)...)
}

// certFileName is the begin of the names of the files of a holder. It begins with no dot and holds no separator.
func certFileName(name string) string {
	name = strings.TrimPrefix(name, "spiffe://")
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_@", r) {
			return r
		}
		return '_'
	}, name)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || name == "" {
		name = "_" + name
	}
	return name[:min(len(name), 200)]
}
