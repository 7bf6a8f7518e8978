// SPDX-License-Identifier: Apache-2.0
// Three GETs and a POST with Java's own TLS; prints the SHA-256 of each answer.
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.HexFormat;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Client {
  public static void main(String[] args) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null);
    try (FileInputStream in = new FileInputStream(args[1])) {
      var factory = CertificateFactory.getInstance("X.509");
      store.setCertificateEntry("test", factory.generateCertificate(in));
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    HttpClient client = HttpClient.newBuilder().sslContext(context).build();
    URI uri = URI.create("https://localhost:" + args[0] + "/" + args[2]);
    HttpRequest get = HttpRequest.newBuilder(uri).build();
    for (int i = 0; i < 3; i++) show(client, get);
    var body = HttpRequest.BodyPublishers.ofByteArray(new byte[300_000]);
    show(client, HttpRequest.newBuilder(uri).POST(body).build());
  }

  static void show(HttpClient client, HttpRequest request) throws Exception {
    HttpResponse<byte[]> got = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
    byte[] hash = MessageDigest.getInstance("SHA-256").digest(got.body());
    System.out.println(
        got.statusCode() + " " + request.method() + " " + HexFormat.of().formatHex(hash));
  }
}
