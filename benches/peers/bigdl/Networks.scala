/* The networks, of BigDL's layers. */

package com.intel.analytics.bigdl.contestant

import com.intel.analytics.bigdl.dllib.nn._
import com.intel.analytics.bigdl.dllib.nn.abstractnn.{AbstractModule, Activity}
import com.intel.analytics.bigdl.dllib.tensor.{Storage, Tensor}
import com.intel.analytics.bigdl.dllib.tensor.TensorNumericMath.TensorNumeric.NumericFloat
import java.nio.file.{Files, Path}
import java.nio.{ByteBuffer, ByteOrder}
import org.json4s.jackson.JsonMethods.parse
import org.json4s.{DefaultFormats, Formats, JObject}

object Networks {
  type Layer = AbstractModule[Activity, Activity, Float]
}

class Networks(weights: Map[String, Tensor[Float]]) {
  import Networks.Layer

  def network(name: String): Layer = name match {
    case "lenet" => lenet()
    case "cnn-bn" => cnnBn()
    case "vgg" => vgg()
    case "resnet" => resnet()
  }

  private def lenet(): Layer = {
    val network = Sequential[Float]()
    add(network, SpatialConvolution[Float](1, 6, 5, 5, propagateBack = false), "conv1")
    network.add(relu()).add(pool())
    add(network, SpatialConvolution[Float](6, 16, 5, 5), "conv2")
    network.add(relu()).add(pool()).add(Reshape[Float](Array(256)))
    add(network, Linear[Float](256, 120), "fc1")
    network.add(relu())
    add(network, Linear[Float](120, 84), "fc2")
    network.add(relu())
    add(network, Linear[Float](84, 10), "fc3")
    network.asInstanceOf[Layer]
  }

  private def cnnBn(): Layer = {
    val network = new Numbered("")
    for ((inputs, outputs) <- Seq((1, 16), (16, 32))) {
      network.add(SpatialConvolution[Float](inputs, outputs, 5, 5, 1, 1, 2, 2, propagateBack = inputs > 1))
      network.add(SpatialBatchNormalization[Float](outputs)).add(relu()).add(pool())
    }
    network.add(Reshape[Float](Array(32 * 7 * 7))).add(Linear[Float](32 * 7 * 7, 10)).layer
  }

  private def vgg(): Layer = {
    val network = new Numbered("")
    for ((inputs, outputs) <- Seq((1, 64), (64, 128), (128, 256))) {
      if (inputs > 1) network.add(pool())
      convolution3x3(network, inputs, outputs, 1).add(relu())
      convolution3x3(network, outputs, outputs, 1).add(relu())
    }
    classifier(network, 256, 7)
  }

  private def resnet(): Layer = {
    val network = new Numbered("")
    convolution3x3(network, 1, 16, 1).add(relu())
    val channels = Seq(16, 16, 16, 32, 32, 64, 64, 128, 128)
    for ((inputs, outputs) <- channels zip channels.tail) network.add(block(network.next, inputs, outputs))
    classifier(network, 128, 4)
  }

  /** relu(body(x) + shortcut(x)) */
  private def block(name: String, inputs: Int, outputs: Int): Layer = {
    val stride = if (inputs == outputs) 1 else 2
    val (body, shortcut) = (new Numbered(s"$name.body."), new Numbered(s"$name.shortcut."))
    convolution3x3(body, inputs, outputs, stride).add(relu())
    convolution3x3(body, outputs, outputs, 1)
    if (stride > 1) {
      shortcut.add(SpatialConvolution[Float](inputs, outputs, 1, 1, stride, stride, withBias = false))
      shortcut.add(SpatialBatchNormalization[Float](outputs))
    } else shortcut.add(Identity[Float]())
    Sequential[Float]().add(ConcatTable[Activity, Float]().add(body.layer).add(shortcut.layer))
      .add(CAddTable[Float](true)).add(relu()).asInstanceOf[Layer]
  }

  /** A convolution without bias and its batch norm; nobody needs the gradient of an image. */
  private def convolution3x3(network: Numbered, inputs: Int, outputs: Int, stride: Int): Numbered = {
    network.add(SpatialConvolution[Float](
      inputs, outputs, 3, 3, stride, stride, 1, 1, propagateBack = inputs > 1, withBias = false))
    network.add(SpatialBatchNormalization[Float](outputs))
  }

  private def classifier(network: Numbered, channels: Int, size: Int): Layer = network
    .add(SpatialAveragePooling[Float](size, size)).add(Reshape[Float](Array(channels)))
    .add(Linear[Float](channels, 10)).layer

  private def relu() = ReLU[Float](true)

  private def pool() = SpatialMaxPooling[Float](2, 2, 2, 2)

  /** Layers whose parameters are named by their number, as in PyTorch's `Sequential`. */
  private class Numbered(prefix: String) {
    private val layers = Sequential[Float]()
    def next: String = prefix + layers.modules.size
    def layer: Layer = layers.asInstanceOf[Layer]
    def add(layer: AbstractModule[_ <: Activity, _ <: Activity, Float]): this.type = {
      Networks.this.add(layers, layer, next)
      this
    }
  }

  /** Adds a layer with the weights of this name, if there are any. */
  private def add(network: Sequential[Float], layer: AbstractModule[_ <: Activity, _ <: Activity, Float], name: String) = {
    val own = Seq("weight", "bias").flatMap(kind => weights.get(s"$name.$kind"))
    for ((value, parameter) <- own zip Option(layer.parameters()).toSeq.flatMap(_._1)) parameter.copy(value)
    network.add(layer)
  }
}

/** Tensors of a safetensors file, by name. */
object Weights {
  def read(file: Path): Map[String, Tensor[Float]] = {
    implicit val formats: Formats = DefaultFormats
    val bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN)
    val header = new Array[Byte](bytes.getLong.toInt)
    bytes.get(header)
    val data = bytes.slice.order(ByteOrder.LITTLE_ENDIAN)
    val entries = parse(new String(header, "UTF-8")).asInstanceOf[JObject].obj.filter(_._1 != "__metadata__")
    entries.map { case (name, entry) =>
      val Seq(first, last) = (entry \ "data_offsets").extract[Seq[Int]]
      val values = new Array[Float]((last - first) / 4)
      data.position(first)
      data.asFloatBuffer.get(values)
      name -> Tensor(Storage(values), 1, (entry \ "shape").extract[Array[Int]])
    }.toMap
  }
}
