// SPDX-License-Identifier: Apache-2.0
// Sixteen GETs on eight connections, then a POST; prints the SHA-256 of each answer.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

func main() {
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	url := "https://localhost:" + os.Args[1] + "/" + os.Args[3]
	show := func(client *http.Client, method string, body []byte) {
		request, err := http.NewRequest(method, url, bytes.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s %x\n", answer.StatusCode, method, sha256.Sum256(text))
	}
	client := func() *http.Client {
		config := &tls.Config{RootCAs: pool}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	}
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			own := client()
			show(own, "GET", nil)
			show(own, "GET", nil)
		}()
	}
	group.Wait()
	show(client(), "POST", make([]byte, 300000))
}
