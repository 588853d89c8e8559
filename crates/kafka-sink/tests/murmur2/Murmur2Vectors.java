import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Random;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

/**
 * Prints, for many keys, where Kafka's own Java producer puts them: the key in hexadecimal, its murmur2, and
 * its partition of 1, 3, 7 and 12.
 *
 * <p>From this directory, with a JDK 17 or later and Maven:
 * <pre>
 * mvn -q dependency:copy -Dartifact=org.apache.kafka:kafka-clients:4.1.0 -DoutputDirectory=lib
 * mvn -q dependency:copy -Dartifact=org.slf4j:slf4j-api:1.7.36 -DoutputDirectory=lib
 * java -cp 'lib/*' Murmur2Vectors.java > vectors.txt
 * rm -r lib
 * </pre>
 */
public class Murmur2Vectors {
    public static void main(String[] arguments) {
        System.out.println("# Made by Murmur2Vectors.java (its comment says how): key, murmur2, partition of 1, 3, 7, 12");
        byte[] digits = "abcdefghijklmnopqrst".getBytes(StandardCharsets.US_ASCII);
        for (int length = 0; length <= 20; length++) {
            print(java.util.Arrays.copyOf(digits, length));
        }
        for (String key : new String[] {"größe", "日本語", "🙂", "0190c1f0-5a4b-7c3d-8e2f-112233445566", "order-42"}) {
            print(key.getBytes(StandardCharsets.UTF_8));
        }
        for (int length = 1; length <= 9; length++) {
            byte[] high = new byte[length];
            java.util.Arrays.fill(high, (byte) 0xff);
            print(high);
            java.util.Arrays.fill(high, (byte) 0x80);
            print(high);
            print(new byte[length]);
        }
        Random random = new Random(42);
        for (int count = 0; count < 200; count++) {
            byte[] key = new byte[1 + random.nextInt(64)];
            random.nextBytes(key);
            print(key);
        }
    }

    private static void print(byte[] key) {
        // An empty key has no digits; a dash keeps its line's columns.
        String hex = key.length == 0 ? "-" : HexFormat.of().formatHex(key);
        int murmur2 = Utils.murmur2(key);
        StringBuilder line = new StringBuilder(hex).append(' ').append(murmur2);
        for (int partitions : new int[] {1, 3, 7, 12}) {
            int partition = BuiltInPartitioner.partitionForKey(key, partitions);
            if (partition != Utils.toPositive(murmur2) % partitions) {
                throw new AssertionError("the partitioner does not use murmur2");
            }
            line.append(' ').append(partition);
        }
        System.out.println(line);
    }
}
